"""The events that wait for the application: a bounded queue that holds back the reading of the socket."""

from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

HARD_FACTOR = 16


class Inbox(Generic[T]):
    """Takes events without waiting, and tells the reader when to pause.

    The reader pauses at `limit` events. While a command waits for its answer it reads on (the answer stands behind the
    events, and the task that takes events may be the one that waits), up to sixteen times as many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[T] = deque()
        self._changed = trio.Event()
        self._error: Exception | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: T) -> None:
        """Add an event."""
        self._events.append(event)
        self.wake()

    def close(self, error: Exception) -> None:
        """Let `get` raise the error once everything before it was taken."""
        self._error = error
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()
        self._changed = trio.Event()

    def has_room(self, is_awaited: bool) -> bool:
        """Tell whether the reader may go on."""
        return len(self._events) < (self._limit * HARD_FACTOR if is_awaited else self._limit)

    async def changed(self) -> None:
        """Wait until something may be different."""
        await self._changed.wait()

    async def get(self) -> T:
        """Return the next event, waiting for it; may be cancelled without losing one.

        Raises:
            Exception: What `close` was given, after the last event.
        """
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._changed.wait()
        event = self._events.popleft()
        self.wake()
        return event
