"""The judgement of the kill test finds each kind of broken promise, and only that."""

from bench.ledger import Ledger, Row, Verdict


def ledger(count: int = 3) -> Ledger:
    """Return a writer's book of so many messages, all acknowledged at seqs from 1 on."""
    one = Ledger("w", "r", "dm:r:w")
    for seq in range(1, count + 1):
        one.acknowledge(one.next_key(), "e", seq, duplicate=False)
    return one


def rows(*keys: str, epoch: str = "e", first: int = 1) -> list[Row]:
    return [Row(epoch, first + place, key) for place, key in enumerate(keys)]


def test_a_history_as_acknowledged_is_good() -> None:
    assert ledger().judge(rows("m0", "m1", "m2")).is_good


def test_a_message_without_an_answer_may_be_there_or_not() -> None:
    one = ledger()
    one.next_key()
    assert one.judge(rows("m0", "m1", "m2")).is_good
    assert one.judge(rows("m0", "m1", "m2", "m3")).is_good


def test_an_acknowledged_message_that_is_not_there_is_lost() -> None:
    assert ledger().judge(rows("m0", "m1")) == Verdict(lost=1)


def test_a_message_that_is_there_twice_is_repeated() -> None:
    found = ledger().judge(rows("m0", "m1", "m2", "m2"))
    assert (found.repeated, found.lost) == (1, 0)


def test_a_message_at_another_place_is_misplaced() -> None:
    found = ledger().judge(rows("m0", "m1", "m2", first=2))
    assert (found.misplaced, found.holes) == (3, 0)


def test_messages_in_another_order_are_unordered() -> None:
    assert ledger().judge(rows("m1", "m0", "m2")).unordered == 1


def test_a_seq_that_is_left_out_is_a_hole() -> None:
    history = [Row("e", 1, "m0"), Row("e", 2, "m1"), Row("e", 4, "m2")]
    assert ledger().judge(history).holes == 1


def test_a_new_epoch_may_leave_out_seqs_but_not_go_back() -> None:
    one = ledger(2)
    one.acknowledge(one.next_key(), "f", 90, duplicate=False)
    assert one.judge([*rows("m0", "m1"), Row("f", 90, "m2")]).is_good
    assert one.judge([*rows("m0", "m1"), Row("f", 2, "m2")]).holes == 1


def test_a_message_that_was_never_sent_is_unknown() -> None:
    assert ledger().judge(rows("m0", "m1", "m2", "m7")).unknown == 1


def test_what_the_reader_saw_must_be_stored() -> None:
    one = ledger()
    one.seen = {1: "m0", 2: "m2"}
    assert one.judge(rows("m0", "m1", "m2")) == Verdict(unstored=1)
