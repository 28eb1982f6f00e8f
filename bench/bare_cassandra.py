"""What Cassandra takes without chatd: the driver in a bare loop, and chatd's store on it, with the same rows.

Both write what chatd writes for a message (its row and its key, as one mutation), with the same number of senders, each
of which waits for its message to be kept before it writes the next.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import trio
from cassandra.query import BatchStatement, BatchType, BoundStatement
from rich.table import Table

from bench import cassandra
from bench.histogram import Histogram
from bench.servers import ServerFailed
from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import cassandra_rows as rows_of
from storage.cassandra import open_cassandra
from storage.cassandra_cluster import connect, shutdown
from storage.cassandra_settings import CassandraSettings
from storage.records import StoredMessage

_TTL = 8 * 86_400


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


def measure(load: Load, address: str) -> list[Figures]:
    """Measure each way, one after the other, on one server."""
    with cassandra.server(address) as (host, port):
        figures: list[Figures] = []
        for name, run in (
            ("driver, a request a row", partial(_bare, load, 1)),
            ("driver, a request for all rows of a channel", partial(_bare, load, load.senders // load.channels)),
            ("chatd's store", partial(_store, load)),
        ):
            settings = CassandraSettings(
                contact_points=(host,),
                port=port,
                keyspace=f"bench_bare_{os.getpid()}_{len(figures)}",
                replication_factor=1,
            )
            trio.run(_make, settings)
            try:
                figures.append(run(settings, name))
            finally:
                cassandra.drop(settings)
        return figures


async def _make(settings: CassandraSettings) -> None:
    async with open_cassandra(settings):
        return


def as_table(figures: list[Figures]) -> Table:
    """Lay the figures out."""
    table = Table("way", "rows a second", "µs of CPU a row", "p50 ms", "p99 ms")
    for each in figures:
        table.add_row(
            each.name,
            f"{each.rows_per_second:,.0f}",
            f"{each.cpu_seconds_per_row * 1e6:.0f}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
        )
    return table


class _Clock:
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


def _message(load: Load, channel: int, seq: int) -> StoredMessage:
    return StoredMessage(
        channel=ChannelName(f"group:bare{channel}"),
        epoch=Epoch("bare"),
        seq=Seq(seq),
        sender=UserId(f"sender{seq % load.senders}"),
        key=f"key-{channel}-{seq}",
        at=int(time.time() * 1000),
        body=Body(Encoding.JSON, b'{"text":"' + b"x" * (load.body_bytes - 11) + b'"}'),
    )


def _bare(load: Load, rows: int, settings: CassandraSettings, name: str) -> Figures:
    """Write in a loop of the driver's own: so many batches under way as there are senders for."""
    cluster, session = connect(settings)
    insert = session.prepare(rows_of.INSERT[rows_of.KEPT])
    insert_key = session.prepare(rows_of.INSERT_KEY)
    under_way = load.senders // rows
    slots = threading.Semaphore(under_way)
    clock = _Clock(load.seconds)

    failures: list[Exception] = []

    def done(_: Any, began: float) -> None:
        clock.count(began, rows)
        slots.release()

    def failed(error: Exception) -> None:
        failures.append(error)
        slots.release()

    seq = 0
    while not clock.is_over:
        slots.acquire()
        seq += rows
        channel = seq // rows % load.channels
        partition = rows_of.PartitionKey(ChannelName(f"group:bare{channel}"), 0)
        batch = BatchStatement(BatchType.UNLOGGED)
        for number in range(seq, seq + rows):
            message = _message(load, channel, number)
            batch.add(_bound(insert, rows_of.message_values(partition, message, 0)))
            batch.add(_bound(insert_key, rows_of.key_values(partition, message, rows_of.KEPT, _TTL)))
        session.execute_async(batch).add_callbacks(done, failed, callback_args=(time.monotonic(),))
    for _ in range(under_way):
        slots.acquire()
    figures = clock.figures(name)
    shutdown(cluster)
    if failures:
        raise ServerFailed(f"Cassandra refused {len(failures)} batches: {failures[0]}")
    return figures


def _bound(prepared: Any, values: list[bytes]) -> Any:
    bound = BoundStatement(prepared)
    bound.values = values
    return bound


def _store(load: Load, settings: CassandraSettings, name: str) -> Figures:
    return trio.run(_write_all, load, settings, name)


async def _write_all(load: Load, settings: CassandraSettings, name: str) -> Figures:
    """Write through the store, each sender when its last message is kept."""
    async with open_cassandra(settings) as store:
        clock = _Clock(load.seconds)
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
            store.submit([_message(load, channel, seqs[channel])], _then(clock, write, channel))

        for sender in range(load.senders):
            write(sender % load.channels)
        await finished.wait()
        return clock.figures(name)


def _then(clock: _Clock, write: Callable[[int], None], channel: int) -> Callable[[Exception | None], None]:
    began = time.monotonic()

    def done(error: Exception | None) -> None:
        if error is not None:
            raise error
        clock.count(began, 1)
        write(channel)

    return done
