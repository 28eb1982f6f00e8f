"""The answers to one publish: what is said of a draft that nobody waits for any longer."""

from chatd.broker import Draft, Published
from chatd.broker.batch import NOT_ANSWERED, NOT_SENT, Batch
from protocol.names import Epoch, Seq
from storage.records import Place
from tests.rig.broker import draft

PLACE = Place(Epoch("1"), Seq(1), 1)


def batch_of(count: int) -> Batch:
    """Make a batch."""
    drafts: list[Draft] = [draft(f"k{number}") for number in range(count)]
    return Batch(drafts)


def test_what_was_never_sent_is_said_to_be_not_sent() -> None:
    batch = batch_of(1)
    batch.give_up()
    assert batch.result() == [NOT_SENT]


def test_what_is_under_way_may_be_placed() -> None:
    batch = batch_of(3)
    for index in range(3):
        batch.begin(index)
    batch.answer(1, Published(PLACE))
    batch.give_up()
    assert batch.result() == [NOT_ANSWERED, Published(PLACE), NOT_ANSWERED]


def test_what_was_sent_again_and_is_under_way_may_be_placed() -> None:
    batch = batch_of(1)
    batch.begin(0)
    batch.retry(0)
    batch.again = []
    batch.begin(0)
    batch.give_up()
    assert batch.result() == [NOT_ANSWERED]


def test_what_waits_to_be_sent_again_may_be_placed_if_an_answer_was_lost() -> None:
    batch = batch_of(2)
    for index in range(2):
        batch.begin(index)
    batch.retry(0, may_be_placed=True)
    batch.retry(1)
    batch.give_up()
    assert batch.result() == [NOT_ANSWERED, NOT_SENT]
