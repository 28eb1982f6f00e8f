"""Arrivals that are recorded by piece become one latency for each message of each reader."""

from bench.latencies import Latencies


def test_each_reader_of_a_piece_counts_each_of_its_messages() -> None:
    latencies = Latencies()
    two = latencies.piece([1_000, 2_000])
    one = latencies.piece([5_000])
    latencies.record(10_000, two)
    latencies.record(20_000, one)
    latencies.record(30_000, two)
    assert sorted(latencies._expand().tolist()) == [8_000, 9_000, 15_000, 28_000, 29_000]


def test_a_flush_returns_what_is_new_and_keeps_the_sum() -> None:
    latencies = Latencies()
    latencies.record(10, latencies.piece([1, 2, 3]))
    assert latencies.flush().total == 3
    assert latencies.flush().total == 0
    latencies.record(10, latencies.piece([1]))
    assert latencies.flush().total == 1
    assert latencies.histogram.total == 4
