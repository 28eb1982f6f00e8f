"""The slope of memory: what rises is seen and fails the run, a single peak does not."""

import pytest

from bench.bed import Round, ScenarioFailed
from bench.scenarios.soak import judge, mib_per_hour


def test_a_slope_is_that_of_the_line_through_the_samples() -> None:
    assert mib_per_hour([(at, 50 + at / 360) for at in range(0, 3600, 10)]) == pytest.approx(10)


def test_a_peak_does_not_tilt_the_line() -> None:
    samples = [(float(at), 50.0) for at in range(20)]
    samples[7] = (7.0, 90.0)
    assert mib_per_hour(samples) == 0


def test_memory_that_is_given_back_falls() -> None:
    assert mib_per_hour([(0.0, 60.0), (1.0, 59.0), (2.0, 58.0)]) == pytest.approx(-3600)


def test_very_many_samples_are_thinned_out() -> None:
    assert mib_per_hour([(at, at / 3600) for at in range(100_000)]) == pytest.approx(1)


def test_memory_that_rises_faster_than_allowed_is_a_failure() -> None:
    samples = [(float(at), 50 + at / 360) for at in range(0, 3600, 10)]
    good, bad = Round("chatd", "1"), Round("chatd", "1")
    judge(good, samples, 11.0)
    judge(bad, samples, 9.0)
    assert good.failures == []
    assert bad.failures == ["memory rose by 10.0 MiB an hour; 9 are allowed"]
    assert bad.figures["mib_per_hour"] == pytest.approx(10)


def test_too_few_samples_say_nothing() -> None:
    with pytest.raises(ScenarioFailed, match="too short"):
        judge(Round("chatd", "1"), [(0.0, 1.0), (1.0, 1.0)], 1.0)
