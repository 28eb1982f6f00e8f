"""The outbox: bounded in bytes, in order, and only the newest of a topic waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.outbox import Outbox, OutboxFull


def drained(outbox: Outbox, step: int = 1_000_000) -> bytes:
    """Take everything out, so many bytes at a time as a socket might."""
    taken = b""
    while piece := bytes(outbox.peek()[:step]):
        taken += piece
        outbox.sent(len(piece))
    return taken


def test_what_is_put_comes_out_in_order_behind_the_rest_of_what_was_half_sent() -> None:
    outbox = Outbox(100, b"rest,")
    outbox.put(b"one,")
    outbox.put(b"two")
    assert outbox.size == 12
    assert drained(outbox) == b"rest,one,two"
    assert outbox.size == 0


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    outbox = Outbox(5, b"12345")  # what is being sent does not count
    outbox.put(b"678")
    with pytest.raises(OutboxFull):
        outbox.put(b"9ab")
    with pytest.raises(OutboxFull):
        outbox.put_newest(b"9ab", "t")
    outbox.put(b"9a")
    assert drained(outbox) == b"123456789a"


def test_a_newer_value_replaces_the_waiting_one_in_its_place() -> None:
    outbox = Outbox(100, b"")
    assert not outbox.put_newest(b"old ", "t")
    outbox.put(b"between ")
    assert not outbox.put_newest(b"other", "u")
    assert outbox.put_newest(b"new ", "t")
    assert outbox.size == len(b"new between other")
    assert drained(outbox) == b"new between other"


def test_a_value_that_is_on_its_way_is_not_replaced() -> None:
    outbox = Outbox(100, b"")
    outbox.put_newest(b"old ", "t")
    outbox.sent(len(outbox.peek()[:2]))
    assert not outbox.put_newest(b"new", "t")
    assert drained(outbox) == b"d new"


def test_a_shorter_value_may_replace_one_in_a_full_outbox() -> None:
    outbox = Outbox(10, b"")
    outbox.put_newest(b"0123456789", "t")
    with pytest.raises(OutboxFull):
        outbox.put_newest(b"0123456789a", "t")
    assert outbox.put_newest(b"01234", "t")
    outbox.put(b"56789")
    assert drained(outbox) == b"0123456789"


def test_clearing_keeps_only_what_was_begun() -> None:
    outbox = Outbox(100, b"rest")
    outbox.put(b"gone")
    outbox.put_newest(b"gone too", "t")
    outbox.clear()
    assert not outbox.put_newest(b" end", "t")
    assert drained(outbox) == b"rest end"


@given(
    puts=st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.sampled_from(["", "", "t", "u"]))),
    step=st.integers(1, 64),
)
def test_size_is_what_waits_whatever_is_put_and_taken(puts: list[tuple[bytes, str]], step: int) -> None:
    outbox = Outbox(300, b"")
    for number, (data, topic) in enumerate(puts):
        before = outbox.size
        try:
            if topic:
                outbox.put_newest(data, topic)
            else:
                outbox.put(data)
        except OutboxFull:
            assert outbox.size == before
        if number % 3 == 2:
            outbox.sent(len(outbox.peek()[:step]))
        assert 0 <= outbox.size <= 300
    waiting = outbox.size
    assert len(drained(outbox, step)) == waiting


def test_answers_are_taken_however_much_waits() -> None:
    outbox = Outbox(10, b"")
    outbox.put(b"0123456789")
    outbox.add(b"answer")
    assert outbox.size == 16
    with pytest.raises(OutboxFull):
        outbox.put(b"x")
    assert drained(outbox) == b"0123456789answer"
