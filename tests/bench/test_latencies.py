"""Arrivals that are recorded by piece become one latency for each message of each reader."""

import struct
import time

from bench.latencies import Latencies


def _stamp(time_ns: int) -> bytes:
    """Return a kernel's note of this time of `time.monotonic_ns`."""
    ahead = time.time_ns() - time.monotonic_ns()
    return struct.pack("@qq", *divmod(time_ns + ahead, 1_000_000_000))


def test_each_reader_of_a_piece_counts_each_of_its_messages() -> None:
    latencies = Latencies()
    two = latencies.piece([1_000_000_000, 2_000_000_000])
    one = latencies.piece([5_000_000_000])
    latencies.record(_stamp(10_000_000_000), two)
    latencies.record(_stamp(20_000_000_000), one)
    latencies.record(_stamp(30_000_000_000), two)
    seconds = sorted(round(one / 1e9) for one in latencies._expand().tolist())
    assert seconds == [8, 9, 15, 28, 29]


def test_a_flush_returns_what_is_new_and_keeps_the_sum() -> None:
    latencies = Latencies()
    latencies.record(_stamp(10), latencies.piece([1, 2, 3]))
    assert latencies.flush().total == 3
    assert latencies.flush().total == 0
    latencies.record(_stamp(10), latencies.piece([1]))
    assert latencies.flush().total == 1
    assert latencies.histogram.total == 4
