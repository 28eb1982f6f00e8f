"""A draft that no task waits for: it is answered once, by whoever speaks first."""

from chatd.broker import Published, Refused
from chatd.broker.alone import Alone
from chatd.broker.batch import NOT_ANSWERED
from protocol.names import Epoch, Seq
from storage.records import Place
from tests.rig.broker import draft

PUBLISHED = Published(Place(Epoch("1"), Seq(1), 0), duplicate=False)


class Publisher:
    """Who published: what it was told, in its order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.alone = Alone(draft("k"), self.told.append, self._ended, self._again)

    def _ended(self, _: Alone) -> None:
        self.told.append("ended")

    def _again(self, _: Alone, may_be_placed: bool) -> None:
        self.told.append(("again", may_be_placed))


def told_after(*answers: Published | Refused) -> list[object]:
    publisher = Publisher()
    publisher.alone.begin(0)
    for answer in answers:
        publisher.alone.answer(0, answer)
    return publisher.told


def test_an_answer_is_passed_on_once() -> None:
    assert told_after(PUBLISHED) == ["ended", PUBLISHED]
    assert told_after(PUBLISHED, NOT_ANSWERED) == ["ended", PUBLISHED]


def test_who_was_given_up_hears_nothing_more() -> None:
    publisher = Publisher()
    publisher.alone.give_up()
    publisher.alone.answer(0, PUBLISHED)
    publisher.alone.retry(0)
    assert publisher.told == ["ended", NOT_ANSWERED]


def test_what_has_to_be_tried_again_is_not_answered_yet() -> None:
    publisher = Publisher()
    publisher.alone.retry(0, may_be_placed=True)
    assert publisher.told == ["ended", ("again", True)]
