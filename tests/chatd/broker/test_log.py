"""One channel's log: what it remembers, and what it can give to who was away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.broker.log import REBIRTH_JUMP, Log
from chatd.config import NAMESPACES
from protocol.names import ChannelName, Epoch, Seq
from tests.fakes.held_store import stored


def log(*seqs: int, start: int = 0, size: int = 10) -> Log:
    """Make a log in which these messages arrived."""
    made = Log(ChannelName("room:a"), NAMESPACES["room"], Epoch("old"), Seq(start), size)
    for seq in seqs:
        made.arrived(stored("room:a", seq))
    return made


def after(of: Log, seq: int) -> list[int] | None:
    messages = of.after(Seq(seq))
    return None if messages is None else [message.seq for message in messages]


@pytest.mark.parametrize(("seq", "expected"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (4, None), (-1, None), (99, None)])
def test_what_came_after_a_seq(seq: int, expected: list[int] | None) -> None:
    assert after(log(1, 2, 3), seq) == expected


def test_what_was_forgotten_cannot_be_given() -> None:
    of = log(*range(1, 21), size=5)
    assert after(of, 15) == [16, 17, 18, 19, 20]
    assert after(of, 14) is None


def test_a_log_begins_where_the_store_stands() -> None:
    of = log(start=7)
    assert (after(of, 7), after(of, 6)) == ([], None)
    of.arrived(stored("room:a", 8))
    assert (after(of, 7), after(of, 6)) == ([8], None)


def test_nothing_is_given_across_a_rebirth() -> None:
    of = log(start=3 + REBIRTH_JUMP)
    of.recent.extend(stored("room:a", seq) for seq in (1, 2, 3))
    assert after(of, 3) is None
    assert after(of, 2 + REBIRTH_JUMP) is None
    of.arrived(stored("room:a", 4 + REBIRTH_JUMP))
    assert after(of, 3 + REBIRTH_JUMP) == [4 + REBIRTH_JUMP]
    assert after(of, 2 + REBIRTH_JUMP) is None


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(0, 30), st.integers(1, 12))
def test_what_is_given_is_whole_even_if_messages_were_never_saved(seqs: set[int], seq: int, size: int) -> None:
    of = log(*sorted(seqs), size=size)
    given_seqs = after(of, seq)
    if given_seqs is not None:
        assert given_seqs == list(range(seq + 1, max(seqs) + 1))
    remembered = set(sorted(seqs)[-size:])
    if seq <= max(seqs) and remembered.issuperset(range(seq + 1, max(seqs) + 1)):
        assert given_seqs is not None


@given(st.integers(0, 20), st.none() | st.integers(0, 25), st.none() | st.integers(0, 25), st.integers(1, 30))
def test_pages_are_those_that_a_store_would_give(
    count: int, before: int | None, from_after: int | None, limit: int
) -> None:
    of = log(*range(1, count + 1), size=100)
    page = of.page(
        before=None if before is None else Seq(before),
        after=None if from_after is None else Seq(from_after),
        limit=limit,
    )
    if from_after is not None:
        expected = [seq for seq in range(1, count + 1) if seq > from_after][:limit]
    else:
        expected = [seq for seq in range(1, count + 1) if before is None or seq < before][-limit:]
    assert [message.seq for message in page] == expected
