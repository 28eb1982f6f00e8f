"""Lets HTTP into each turn of the scheduler in small numbers, so that a turn does not become long by it.

A request costs a quarter of a millisecond and more, a message a few microseconds. Many requests that come together
would otherwise all be served in one turn, and what sessions are sent goes out when the turn is over.
"""

from collections import deque

import trio
from trio.lowlevel import Abort, Task


class Turnstile:
    """Lets `most` pass in a turn; the others wait for the next ones, in their order. `run` must be running."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = most
        self._waiting: deque[Task] = deque()
        self._used = trio.Event()

    async def enter(self) -> None:
        """Return when there is room in a turn; at once where there is in this one."""
        if self._left:
            self._left -= 1
            self._used.set()
            return
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def abort(_: object) -> Abort:
            # Who was let through at this moment is not in the line any more, and is not cancelled here.
            self._waiting.remove(task)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """Open it again in each turn, until cancelled. While nobody comes this waits."""
        while True:
            await self._used.wait()
            self._used = trio.Event()
            # The turn that is running now is that of who came; what it brought is sent before the next one.
            await trio.lowlevel.checkpoint()
            while self._waiting:
                for _ in range(min(self.most, len(self._waiting))):
                    trio.lowlevel.reschedule(self._waiting.popleft())
                self._left = 0
                await trio.lowlevel.checkpoint()
            self._left = self.most
