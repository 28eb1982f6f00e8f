"""The plain numbers: every slot is made, and a latency falls into the right bucket."""

import pytest

from chatd.counters import LATENCY_BOUNDS, Counters, Latency


def test_every_counter_exists_from_the_start() -> None:
    counters = Counters()
    for name in Counters.__slots__:
        assert hasattr(counters, name), name


def test_a_counter_that_does_not_exist_cannot_be_made_up() -> None:
    with pytest.raises(AttributeError):
        Counters().mesages_in = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (-1.0, 0),
        (0.0005, 0),
        (0.00051, 1),
        (0.3, 9),
        (10.0, len(LATENCY_BOUNDS) - 1),
        (11.0, len(LATENCY_BOUNDS)),
    ],
)
def test_a_time_is_counted_under_the_first_bound_that_is_not_less(seconds: float, bucket: int) -> None:
    latency = Latency()
    latency.observe(seconds)
    assert latency.counts.index(1) == bucket
    assert sum(latency.counts) == 1


def test_many_at_once_count_and_sum_like_each() -> None:
    latency = Latency()
    latency.observe(0.25, 1000)
    latency.observe(2.0)
    assert sum(latency.counts) == 1001
    assert latency.total_seconds == pytest.approx(252.0)
