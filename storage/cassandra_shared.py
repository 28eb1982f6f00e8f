"""The same question asked by many at once is asked once: a hot channel after a restart is one read, not a thousand.

Who asks while the question is under way does not get that answer, which may be older than what was written since; all
who came meanwhile share the next one.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar, cast

import trio

from storage.cassandra_background import Background

_T = TypeVar("_T")


class _Answer(Generic[_T]):
    """What those who wait for one asking get."""

    __slots__ = ("arrived", "error", "value")

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.value: _T | None = None
        self.error: Exception | None = None


class SharedReads(Generic[_T]):
    """Asks questions in the background: when who asked first gives up, the others still get their answer."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._next: dict[Hashable, _Answer[_T]] = {}  # not asked yet
        self._asking: set[Hashable] = set()

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `ask` returns, or raise what it raises; of equal questions one is under way at a time."""
        answer = self._next.get(question)
        if answer is None:
            answer = self._next[question] = _Answer()
            if question not in self._asking:
                self._asking.add(question)
                self._background.start(self._run, question, ask)
        await answer.arrived.wait()
        if answer.error is not None:
            raise answer.error
        return cast(_T, answer.value)

    async def _run(self, question: Hashable, ask: Callable[[], Awaitable[_T]]) -> None:
        """Ask until nobody waits any more."""
        while (answer := self._next.pop(question, None)) is not None:
            try:
                answer.value = await ask()
            except Exception as error:
                answer.error = error
            answer.arrived.set()
        self._asking.discard(question)
