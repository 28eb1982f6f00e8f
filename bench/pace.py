"""How the writers of one process write: when each message is meant to go, whether or not the server keeps up."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.connection import Connection

_GOLDEN = 0.6180339887498949  # spreads the first moments of any number of writers evenly


@dataclass(frozen=True, slots=True)
class Pace:
    """At a rate over all writers, each at the rate of its seat, or each with so many unanswered sends."""

    rate: float = 0.0
    in_flight: int = 0
    own: bool = False


def schedule(pace: Pace, writers: Sequence[Connection], start_ns: int) -> Iterator[tuple[int, Connection]]:
    """Yield when each message is due, and whose it is, in the order of time; nothing without a rate."""
    if pace.own:
        return _each_by_itself(writers, start_ns)
    return _in_turn(pace.rate, writers, start_ns) if pace.rate and writers else iter(())


def _in_turn(rate: float, writers: Sequence[Connection], start_ns: int) -> Iterator[tuple[int, Connection]]:
    interval = 1e9 / rate
    count, number = 0, len(writers)
    while True:
        yield start_ns + int(count * interval), writers[count % number]
        count += 1


def _each_by_itself(writers: Sequence[Connection], start_ns: int) -> Iterator[tuple[int, Connection]]:
    intervals = {index: 1e9 / writer.seat.rate for index, writer in enumerate(writers) if writer.seat.rate}
    queue = [(start_ns + int(index * _GOLDEN % 1 * interval), index) for index, interval in intervals.items()]
    heapq.heapify(queue)
    while queue:
        due, index = queue[0]
        yield due, writers[index]
        heapq.heapreplace(queue, (due + int(intervals[index]), index))
