"""Writes rows of messages into a store of Cassandra's, as many senders do who wait for each to be kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import trio

from bench.histogram import Histogram
from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.cassandra import open_cassandra
from storage.cassandra_settings import CassandraSettings
from storage.records import StoredMessage


@dataclass(frozen=True, slots=True)
class Load:
    """How many write where, for how long."""

    senders: int = 500
    channels: int = 100
    body_bytes: int = 200
    seconds: float = 5.0


@dataclass(slots=True)
class Figures:
    """What one way of writing reached."""

    name: str
    rows_per_second: float
    cpu_seconds_per_row: float
    p50_ms: float
    p99_ms: float


class Clock:
    """Counts rows and latencies of one way of writing."""

    def __init__(self, seconds: float) -> None:
        self.rows = 0
        self._latencies: list[int] = []
        self._began = time.monotonic()
        self._cpu = time.process_time()
        self._end = self._began + seconds

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more is to be begun."""
        return time.monotonic() >= self._end

    def count(self, began: float, rows: int) -> None:
        """Note rows that were kept."""
        self.rows += rows
        self._latencies += [int((time.monotonic() - began) * 1e9)] * rows

    def figures(self, name: str) -> Figures:
        """Return what came of it."""
        latencies = Histogram()
        latencies.add(np.array(self._latencies, np.int64))
        p50, p99 = latencies.percentiles_ms((50, 99))
        seconds = time.monotonic() - self._began
        return Figures(name, self.rows / seconds, (time.process_time() - self._cpu) / max(1, self.rows), p50, p99)


def row(load: Load, channel: int, seq: int) -> StoredMessage:
    """Return the next message of a channel."""
    return StoredMessage(
        channel=ChannelName(f"group:bare{channel}"),
        epoch=Epoch("bare"),
        seq=Seq(seq),
        sender=UserId(f"sender{seq % load.senders}"),
        key=f"key-{channel}-{seq}",
        at=int(time.time() * 1000),
        body=Body(Encoding.JSON, b'{"text":"' + b"x" * (load.body_bytes - 11) + b'"}'),
    )


async def write_all(load: Load, settings: CassandraSettings, name: str = "chatd's store") -> Figures:
    """Write through the store, each sender when its last message is kept."""
    async with open_cassandra(settings) as store:
        clock = Clock(load.seconds)
        seqs = [0] * load.channels
        finished = trio.Event()
        left = load.senders

        def write(channel: int) -> None:
            nonlocal left
            if clock.is_over:
                left -= 1
                if not left:
                    finished.set()
                return
            seqs[channel] += 1
            store.submit([row(load, channel, seqs[channel])], _then(clock, write, channel))

        for sender in range(load.senders):
            write(sender % load.channels)
        await finished.wait()
        return clock.figures(name)


def _then(clock: Clock, write: Callable[[int], None], channel: int) -> Callable[[Exception | None], None]:
    began = time.monotonic()

    def done(error: Exception | None) -> None:
        if error is not None:
            raise error
        clock.count(began, 1)
        write(channel)

    return done
