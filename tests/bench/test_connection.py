"""What a simulated client says of the order in which messages came, and of where it stands."""

from bench.connection import Connection
from bench.seats import STREAM, Checks, Seat, stream_name


def connection() -> Connection:
    return Connection(Seat("u", "", reads="room:a", subscribes=True))


def test_messages_in_order_are_right() -> None:
    one = connection()
    one.take(0, 3)
    one.take(3, 4)
    assert (one.expected, one.holes, one.repeats) == (4, 0, 0)


def test_a_hole_is_counted_once() -> None:
    one = connection()
    one.take(0, 1)
    one.take(3, 4)
    one.take(4, 5)
    assert (one.expected, one.holes, one.repeats) == (5, 2, 0)


def test_a_repeat_is_counted_and_moves_nothing_back() -> None:
    one = connection()
    one.take(0, 4)
    one.take(2, 5)
    assert (one.expected, one.holes, one.repeats) == (5, 0, 2)


def test_a_swap_is_a_hole_and_a_repeat() -> None:
    one = connection()
    for counter in (1, 0, 2):
        one.take(counter, counter + 1)
    assert (one.holes, one.repeats) == (1, 1)


def test_the_cursor_moves_with_what_was_read() -> None:
    one = connection()
    one.stand("e1", 40)
    one.take(0, 3)
    assert one.cursor == ("e1", 43)
    one.stand("e1", 50)
    one.take(3, 4)
    assert one.cursor == ("e1", 51)


def test_streams_are_told_apart_by_their_counters() -> None:
    one = Connection(Seat("u", "", hears=(2, 5)))
    for counter in (2 * STREAM, 5 * STREAM, 2 * STREAM + 1, 5 * STREAM + 2, 5 * STREAM):
        one.take_of_stream(counter)
    assert (one.holes, one.repeats, one.strays) == (1, 1, 0)
    assert one.unread({stream_name(2): 4, stream_name(5): 3, stream_name(9): 7}) == 2


def test_a_message_of_a_stream_that_is_not_heard_is_a_stray() -> None:
    one = Connection(Seat("u", "", hears=(2,)))
    one.take_of_stream(3 * STREAM)
    assert (one.strays, one.holes) == (1, 0)


def test_checks_add_up_and_any_fault_is_bad() -> None:
    assert Checks(missing=1) + Checks(missing=2, closed=3) == Checks(missing=3, closed=3)
    assert Checks().is_good
    assert not Checks(repeats=1).is_good
