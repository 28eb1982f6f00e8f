"""When messages are due: in turn at a common rate, or each writer at its own."""

from itertools import islice

from bench.connection import Connection
from bench.pace import Pace, schedule
from bench.seats import Seat

SECOND = 1_000_000_000


def writers(*rates: float) -> list[Connection]:
    return [Connection(Seat(f"u{index}", "", writes=f"c{index}", rate=rate)) for index, rate in enumerate(rates)]


def test_a_common_rate_goes_round_the_writers() -> None:
    both = writers(0, 0)
    due = [(at, one.seat.user) for at, one in islice(schedule(Pace(rate=4.0), both, 10), 4)]
    assert due == [(10, "u0"), (10 + SECOND // 4, "u1"), (10 + SECOND // 2, "u0"), (10 + 3 * SECOND // 4, "u1")]


def test_each_writer_has_its_own_rate_and_all_come_in_the_order_of_time() -> None:
    due = list(islice(schedule(Pace(own=True), writers(10.0, 1.0, 0.0), 0), 44))
    assert [at for at, _ in due] == sorted(at for at, _ in due)
    assert [one.seat.user for _, one in due].count("u0") == 40
    assert [one.seat.user for _, one in due].count("u1") == 4


def test_nothing_is_due_without_a_rate_or_without_writers() -> None:
    assert not list(schedule(Pace(in_flight=4), writers(1.0), 0))
    assert not list(schedule(Pace(rate=1.0), [], 0))
    assert not list(schedule(Pace(own=True), writers(0.0), 0))
