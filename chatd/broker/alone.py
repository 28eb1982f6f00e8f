"""One draft that no task waits for: who published is called when Redis and the store have had their say."""

from collections.abc import Callable, Collection, Sequence

from chatd.broker import Draft, Published, Refused
from chatd.broker.batch import NOT_ANSWERED

Done = Callable[[Published | Refused], None]


class Alone:
    """What a `Batch` is to an `Append`, for one draft and without a wait: half the cost of a publish on its own."""

    __slots__ = ("_again", "_ended", "begun_at", "done", "drafts")

    sent: Collection[int] = ()  # it has not been tried before

    def __init__(
        self, draft: Draft, done: Done, ended: "Callable[[Alone], None]", again: "Callable[[Alone, bool], None]"
    ) -> None:
        """Take what is called once: `ended` and `done` with an answer, or `again` to try it in another way."""
        self.drafts: Sequence[Draft] = (draft,)
        self.done: Done | None = done
        self.begun_at = 0.0  # Unix seconds
        self._ended = ended
        self._again = again

    def begin(self, index: int) -> None:
        """Take it that the draft is under way."""

    def answer(self, index: int, answer: Published | Refused) -> None:
        """Pass on what became of the draft, unless nobody waits for it any longer."""
        done = self.done
        if done is not None:
            self._ended(self)
            self.done = None
            done(answer)

    def retry(self, index: int, *, may_be_placed: bool = False) -> None:
        """Leave it to a task to send the draft again."""
        if self.done is not None:
            self._ended(self)
            self._again(self, may_be_placed)

    def give_up(self) -> None:
        """Let nobody wait any longer; what happens later still happens."""
        self.answer(0, NOT_ANSWERED)
