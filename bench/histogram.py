"""A histogram of latencies that is cheap to fill by the thousand and loses under one percent of precision.

Buckets are logarithmic: 128 for each doubling, cut straight from the bits of a double. Two histograms of any two runs
can be added and compared bucket by bucket.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

_SUB_BITS = 7
_SHIFT = np.int64(52 - _SUB_BITS)
_BIAS = 1023 << _SUB_BITS
_BUCKETS = 48 << _SUB_BITS  # up to 2**48 ns, more than three days

Counts = npt.NDArray[np.int64]


class Histogram:
    """Counts values in nanoseconds."""

    __slots__ = ("counts",)

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts: Counts = np.zeros(_BUCKETS, np.int64) if counts is None else counts

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Count values; those below one nanosecond count as one."""
        if len(values):
            bits = np.maximum(values, 1).astype(np.float64).view(np.int64)
            index = np.minimum((bits >> _SHIFT) - _BIAS, _BUCKETS - 1)
            self.counts += np.bincount(index, minlength=_BUCKETS)

    def merge(self, other: "Histogram") -> None:
        """Add what another one counted."""
        self.counts += other.counts

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """Return the value, in nanoseconds, that `percent` of all values do not pass; 0 when nothing was counted."""
        total = self.total
        if not total:
            return 0.0
        rank = max(1, int(np.ceil(total * percent / 100)))
        return _upper(int(np.searchsorted(np.cumsum(self.counts), rank)))

    def percentiles_ms(self, percents: Iterable[float]) -> list[float]:
        """Return several percentiles in milliseconds."""
        return [self.percentile(percent) / 1e6 for percent in percents]

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle only what is not empty: a tick of a worker is then some hundred bytes."""
        places = np.flatnonzero(self.counts)
        return _unpickle, (places, self.counts[places])

    def to_sparse(self) -> dict[str, int]:
        """Return the buckets that are not empty, for a JSON file."""
        return {str(index): int(self.counts[index]) for index in np.flatnonzero(self.counts)}

    @classmethod
    def from_sparse(cls, sparse: Mapping[str, int]) -> "Histogram":
        """Read what `to_sparse` wrote."""
        histogram = cls()
        for index, count in sparse.items():
            histogram.counts[int(index)] = count
        return histogram


def _unpickle(places: Counts, counts: Counts) -> Histogram:
    histogram = Histogram()
    histogram.counts[places] = counts
    return histogram


def _upper(index: int) -> float:
    """Return the highest value that falls into a bucket."""
    exponent, sub = divmod(index, 1 << _SUB_BITS)
    return float(2**exponent * (1 + (sub + 1) / (1 << _SUB_BITS)))
