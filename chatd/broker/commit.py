"""Messages on their way into the store together, and the senders who wait for it."""

from collections.abc import Callable

import trio

from chatd.broker import RETRY_SECONDS, Draft, Published, Refused
from chatd.broker.log import Log
from protocol.codes import ErrorCode
from storage.records import Place, StoredMessage

Item = tuple[Log, StoredMessage, Draft]


class Commit:
    """What one `publish` gave to the store. `done` is called by the store, once, on the trio thread."""

    __slots__ = ("_event", "_on_done", "error", "is_done", "items", "tell")

    def __init__(self, on_done: "Callable[[Commit], None]") -> None:
        self.items: list[Item] = []
        self.error: Exception | None = None
        self.is_done = False
        self._on_done = on_done
        self._event: trio.Event | None = None
        self.tell: Callable[[], None] | None = None
        """Called once, when the store has answered or was given up; for who has no task that waits."""

    def done(self, error: Exception | None) -> None:
        """Take the store's answer, deliver, and wake who waits."""
        self.error = error
        self.is_done = True
        try:
            self._on_done(self)
        finally:
            self._release()
            self._wake()

    def refuse(self, error: Exception) -> None:
        """Take it that the store did not even begin."""
        self.error = error
        self.is_done = True
        self._release()

    def give_up(self) -> None:
        """Let nobody wait any longer: the store takes too long. What it says later is still taken."""
        self._wake()

    def _wake(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.set()
        tell, self.tell = self.tell, None
        if tell is not None:
            tell()

    def _release(self) -> None:
        """Let go of the messages: who knows one of their keys holds this commit, for as long as keys are remembered."""
        self.items = []

    async def wait(self) -> None:
        """Return when the store has answered, or was given up."""
        if not self.is_done:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()


class Placed:
    """One draft that has its place, in a commit that it has to wait for."""

    __slots__ = ("commit", "duplicate", "place")

    def __init__(self, place: Place, commit: Commit, duplicate: bool) -> None:
        self.place = place
        self.commit = commit
        self.duplicate = duplicate

    def answer(self) -> Published | Refused:
        """Say what became of it."""
        if not self.commit.is_done:
            return Refused(ErrorCode.TIMEOUT, "the store takes too long; whether it is stored is not known")
        if self.commit.error is not None:
            return Refused(ErrorCode.UNAVAILABLE, "the store cannot take it now", RETRY_SECONDS)
        return Published(self.place, self.duplicate)


class Batch:
    """The answers to one `publish` in the order of its drafts, and which of them the store still has a say in."""

    __slots__ = ("answers", "commit", "unstored")

    def __init__(self) -> None:
        self.answers: list[Published | Refused] = []
        self.unstored: dict[int, Placed] | None = None  # by their place among the answers
        self.commit: Commit | None = None

    def wait_for(self, placed: Placed) -> None:
        """Keep a place among the answers for one that is known when the store has answered."""
        if self.unstored is None:
            self.unstored = {}
        self.unstored[len(self.answers)] = placed
        self.answers.append(_UNKNOWN)


_UNKNOWN = Refused(ErrorCode.TIMEOUT, "the store has not answered")
