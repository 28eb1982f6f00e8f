"""What Cassandra takes without chatd: the driver in a bare loop, and chatd's store on it, with the same rows.

Both write what chatd writes for a message (its row and its key, as one mutation), with the same number of senders, each
of which waits for its message to be kept before it writes the next.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio
from cassandra.query import BatchStatement, BatchType, BoundStatement
from rich.table import Table

from bench import cassandra
from bench.cassandra import Node
from bench.servers import ServerFailed
from bench.store_load import Clock, Figures, Load, row, write_all
from bench.targets import new_run
from protocol.names import ChannelName
from storage import cassandra_rows as rows_of
from storage.cassandra import open_cassandra
from storage.cassandra_cluster import connect, shutdown
from storage.cassandra_settings import CassandraSettings

_TTL = 8 * 86_400

_Write = Callable[[Load, CassandraSettings, str], Figures]


def measure(load: Load, address: str, warm_seconds: float) -> list[Figures]:
    """Measure each way, one after the other, on one server; one that is started here is warmed with each way first."""
    with cassandra.server(address, warm_seconds) as node:
        figures: list[Figures] = []
        for name, write in (
            ("driver, a request a row", partial(_bare, 1)),
            ("driver, a request for all rows of a channel", partial(_bare, load.senders // load.channels)),
            ("chatd's store", _store),
        ):
            if node.warming is not None:
                node.warming.run(partial(_warm, node, load, write))
            figures.append(_once(node, load, write, name))
        return figures


def _warm(node: Node, load: Load, write: _Write, seconds: float) -> None:
    _once(node, replace(load, seconds=seconds), write, "warming")


def _once(node: Node, load: Load, write: _Write, name: str) -> Figures:
    """Write in one way, into a keyspace for that alone."""
    settings = node.settings(f"bench_bare_{new_run()}")
    trio.run(_make, settings)
    try:
        return write(load, settings, name)
    finally:
        cassandra.drop(settings)


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


def _bare(rows: int, load: Load, settings: CassandraSettings, name: str) -> Figures:
    """Write in a loop of the driver's own: so many batches under way as there are senders for."""
    cluster, session = connect(settings)
    insert = session.prepare(rows_of.INSERT[rows_of.KEPT])
    insert_key = session.prepare(rows_of.INSERT_KEY)
    under_way = load.senders // rows
    slots = threading.Semaphore(under_way)
    clock = Clock(load.seconds)

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
            message = row(load, channel, number)
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
    return trio.run(write_all, load, settings, name)
