"""The answers to one publish, while Redis and the store have a say in them."""

from collections.abc import Sequence

import trio

from chatd.broker import RETRY_SECONDS, Draft, Published, Refused
from protocol.codes import ErrorCode

NOT_ANSWERED = Refused(ErrorCode.TIMEOUT, "it takes too long; whether it is placed is not known")
NOT_SENT = Refused(ErrorCode.UNAVAILABLE, "Redis cannot be reached", RETRY_SECONDS)


class Batch:
    """Drafts that came together, in the order of their answers. `wait` returns when nothing is under way."""

    __slots__ = ("_event", "_open", "again", "answers", "drafts", "given_up", "sent")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.answers: list[Published | Refused | None] = [None] * len(drafts)
        self.again: list[int] = []  # to be sent once more, by who published
        self.sent: set[int] = set()  # may have been placed by a try whose answer was lost
        self.given_up = False
        self._open: set[int] = set()
        self._event: trio.Event | None = None

    def begin(self, index: int) -> None:
        """Take it that a draft is under way."""
        self._open.add(index)

    def answer(self, index: int, answer: Published | Refused) -> None:
        """Take what became of a draft."""
        self.answers[index] = answer
        self._end(index)

    def retry(self, index: int, *, may_be_placed: bool = False) -> None:
        """Take it that a draft has to be sent again."""
        self.again.append(index)
        if may_be_placed:
            self.sent.add(index)
        self._end(index)

    def _end(self, index: int) -> None:
        self._open.discard(index)
        if not self._open and self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Return when everything that was begun has its answer, or has to be sent again, or was given up."""
        if self._open and not self.given_up:
            self._event = trio.Event()
            await self._event.wait()

    def give_up(self) -> None:
        """Let nobody wait any longer; what happens later still happens."""
        self.given_up = True
        if self._event is not None:
            self._event.set()

    def result(self) -> list[Published | Refused]:
        """Return the answers; what has none yet was given up."""
        may_be_placed = self.sent | self._open
        return [
            answer if answer is not None else NOT_ANSWERED if index in may_be_placed else NOT_SENT
            for index, answer in enumerate(self.answers)
        ]
