"""Collects arrivals in the hot loop by appending a stamp and a number, and makes latencies of them by the thousand.

Readers of one room get the same bytes. So what is recorded for one read is when it arrived and *which piece* it was;
the times at which that piece's messages were meant to be sent are kept once for all readers.
"""

from array import array

import numpy as np

from bench.arrivals import Times, monotonic_ns
from bench.histogram import Histogram


class Latencies:
    """Reads that were recorded since the last flush, and a histogram of those before."""

    __slots__ = ("arrived", "histogram", "piece_of", "piece_sizes", "sent")

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.arrived = bytearray()
        self.piece_of = array("q")
        self.piece_sizes = array("q")
        self.sent = array("q")

    def piece(self, sent_ns: list[int]) -> int:
        """Keep the send times of a piece's messages; return the piece's number, which holds until the next flush."""
        self.sent.extend(sent_ns)
        self.piece_sizes.append(len(sent_ns))
        return len(self.piece_sizes) - 1

    def record(self, stamp: bytes, piece: int) -> None:
        """Record that a piece arrived. The hot loop does this itself."""
        self.arrived += stamp
        self.piece_of.append(piece)

    def flush(self) -> Histogram:
        """Count everything recorded since the last flush; return what that was."""
        fresh = Histogram()
        if self.arrived:
            fresh.add(self._expand())
            self.histogram.merge(fresh)
        self.arrived = bytearray()
        self.piece_of = array("q")
        self.piece_sizes = array("q")
        self.sent = array("q")
        return fresh

    def _expand(self) -> Times:
        """Make one latency of every message of every read."""
        arrived = monotonic_ns(self.arrived)
        pieces: Times = np.frombuffer(self.piece_of, np.int64)
        sizes: Times = np.frombuffer(self.piece_sizes, np.int64)
        sent: Times = np.frombuffer(self.sent, np.int64)
        firsts = np.cumsum(sizes) - sizes
        counts = sizes[pieces]
        total = int(counts.sum())
        before = np.cumsum(counts) - counts
        places = np.repeat(firsts[pieces] - before, counts) + np.arange(total)
        latencies: Times = np.repeat(arrived, counts) - sent[places]
        return latencies
