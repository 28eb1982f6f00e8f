"""What a bed says of the load generator: how far it could have gone."""

import pytest

from bench.bed import Usage, generator_ceiling
from bench.histogram import Histogram
from bench.orders import Drained
from bench.seats import Checks


def drained(deliveries: int) -> Drained:
    return Drained(deliveries, 0, Histogram(), Histogram(), Checks(), {}, {})


def test_the_ceiling_is_the_rate_at_which_the_busiest_process_has_no_time_left() -> None:
    usage = Usage(seconds=2.0, server_cpu_seconds=1.0, generator_cpu_seconds=0.5)
    assert generator_ceiling(drained(10_000), usage) == {"generator_ceiling_per_second": 20_000.0}
    assert usage.generator_cpu == 0.25


@pytest.mark.parametrize(("deliveries", "cpu_seconds"), [(0, 1.0), (10, 0.0)])
def test_there_is_no_ceiling_of_nothing(deliveries: int, cpu_seconds: float) -> None:
    assert generator_ceiling(drained(deliveries), Usage(1.0, 1.0, cpu_seconds)) == {}
