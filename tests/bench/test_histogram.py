"""Latency histograms: precision, order, addition, and what they look like in a file."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.histogram import Histogram


def histogram_of(*values: int) -> Histogram:
    histogram = Histogram()
    histogram.add(np.array(values, np.int64))
    return histogram


def test_an_empty_histogram_has_zero_percentiles() -> None:
    assert Histogram().percentile(99) == 0.0


@settings(deadline=None)
@given(st.integers(1, 2**47))
def test_a_value_is_found_again_within_one_percent(value: int) -> None:
    assert histogram_of(value).percentile(50) == pytest.approx(value, rel=0.01)


@settings(deadline=None)
@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=200), st.floats(1, 100))
def test_a_percentile_is_never_below_the_true_one(values: list[int], percent: float) -> None:
    rank = max(1, int(np.ceil(len(values) * percent / 100)))
    true = sorted(values)[rank - 1]
    assert true <= histogram_of(*values).percentile(percent) <= true * 1.01 + 1


def test_values_below_one_nanosecond_count_as_one() -> None:
    assert histogram_of(-5, 0, 1).total == 3
    assert histogram_of(-5, 0, 1).percentile(100) < 1.1


def test_values_beyond_the_last_bucket_are_counted_in_it() -> None:
    assert histogram_of(2**60).total == 1


def test_merging_is_adding() -> None:
    merged = histogram_of(1000, 2000)
    merged.merge(histogram_of(3000))
    assert (merged.counts == histogram_of(1000, 2000, 3000).counts).all()


def test_a_histogram_survives_a_file_and_a_pipe() -> None:
    histogram = histogram_of(1000, 1000, 5_000_000)
    assert (Histogram.from_sparse(histogram.to_sparse()).counts == histogram.counts).all()
    pickled = pickle.dumps(histogram)
    assert (pickle.loads(pickled).counts == histogram.counts).all()
    assert len(pickled) < 1000
