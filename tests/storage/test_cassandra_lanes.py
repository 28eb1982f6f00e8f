"""Tests of the order in which writes to Cassandra are told, and of what is given up together."""

from protocol.names import ChannelName
from storage.cassandra_lanes import Lane, Part, Write, fail, stored
from tests.contracts.store import message

ONE, TWO, THREE = (ChannelName(f"dm:{name}") for name in ("one", "two", "three"))


def nothing(_: Exception | None) -> None:
    """Take no notice."""


def write(number: int, **seqs: int) -> Write:
    """Put a write with one message in each of some lanes."""
    made = Write(number, nothing, len(seqs))
    for name, seq in seqs.items():
        lane = LANES[name]
        lane.add(made, [message(seq, channel=lane.channel)])
    return made


LANES: dict[str, Lane] = {}


def send(name: str) -> Part:
    """Take the first part that waits in a lane, as a batch does."""
    part = LANES[name].waiting.popleft()
    part.is_sent = True
    return part


def setup_function() -> None:
    """Begin with empty lanes."""
    LANES.update(one=Lane(ONE), two=Lane(TWO), three=Lane(THREE))


def test_a_write_is_told_when_it_is_stored() -> None:
    first = write(1, one=1)
    assert stored([send("one")]) == [first]
    assert LANES["one"].is_idle


def test_writes_of_one_lane_are_told_in_the_order_of_their_submission() -> None:
    first, second = write(1, one=1), write(2, one=2)
    parts = [send("one"), send("one")]
    assert stored(parts) == [first, second]


def test_a_write_of_several_lanes_is_told_when_all_of_it_is_stored() -> None:
    both = write(1, one=1, two=1)
    assert stored([send("one")]) == []
    assert stored([send("two")]) == [both]


def test_a_write_waits_for_what_came_before_it_in_any_of_its_lanes() -> None:
    first = write(1, one=1, two=1)
    second = write(2, two=2, three=1)
    assert stored([send("two")]) == []
    assert stored([send("two"), send("three")]) == []  # the second is stored; the first is not yet
    assert stored([send("one")]) == [first, second]


def test_a_part_that_was_split_is_stored_when_both_halves_are() -> None:
    whole = Write(1, nothing, 2)
    lane = LANES["one"]
    lane.add(whole, [message(1, channel=ONE), message(2, channel=ONE)])
    half = send("one")
    lane.waiting.appendleft(Part(whole, lane, half.messages[1:]))
    half.messages = half.messages[:1]
    assert stored([half]) == []
    assert stored([send("one")]) == [whole]


def test_when_a_write_fails_all_that_was_submitted_later_fails_in_order() -> None:
    writes = [write(number, one=number) for number in range(1, 5)]
    send("one")
    assert fail(LANES["one"]) == writes
    assert not LANES["one"].waiting
    assert not LANES["one"].untold


def test_what_was_sent_and_failed_is_unsettled_and_what_was_not_sent_is_not() -> None:
    write(1, one=1)
    write(2, one=2)
    send("one")
    fail(LANES["one"])
    assert list(LANES["one"].unsettled) == [1]
    assert not LANES["one"].is_idle


def test_a_failure_spreads_to_the_lanes_that_share_a_write() -> None:
    first, second, third = write(1, one=1, two=1), write(2, two=2, three=1), write(3, three=2)
    send("two")
    assert fail(LANES["one"]) == [first, second, third]
    assert list(LANES["two"].unsettled) == [1]
    assert not LANES["three"].unsettled


def test_lanes_that_share_nothing_go_on() -> None:
    write(1, one=1)
    other = write(2, two=1)
    part = send("two")
    fail(LANES["one"])
    assert stored([part]) == [other]


def test_an_answer_that_comes_after_all_settles_what_it_is_about() -> None:
    write(1, one=1, two=1)
    part = send("two")
    fail(LANES["one"])
    assert stored([part]) == []
    assert LANES["two"].is_idle


def test_who_follows_a_lane_is_told_last() -> None:
    first = write(1, one=1)
    last = Write(2, nothing, 0)
    LANES["one"].follow(last)
    assert stored([send("one")]) == [first, last]
