"""A Cassandra for the servers under test: started here for the time of a run, or given by address.

One that is started gets rows first that nobody counts, so that no scenario meets a server that never ran anything; what
is measured warms it further (see `bench.warming`).
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from bench.servers import Database, ServerFailed, free_port
from bench.store_load import Load, write_all
from bench.warming import Warming
from storage.cassandra import open_cassandra
from storage.cassandra_cluster import connect, shutdown
from storage.cassandra_settings import CassandraSettings

_HOST = "127.0.0.1"
_DROP_SECONDS = 60.0
_HEAP = "2g"
# Each thread of a pool that has nothing to do sleeps for microseconds and looks for work again: on two cores four of a
# kind do more than eight or 64.
_REQUEST_THREADS = 4
_CONCURRENT_WRITES = 4
_FIRST_ROWS = Load(seconds=10.0)


@dataclass(frozen=True, slots=True)
class Node:
    """Where a Cassandra is, and how it is warmed if it was started here."""

    host: str
    port: int
    warming: Warming | None = None

    def settings(self, keyspace: str) -> CassandraSettings:
        """Return how the bench itself opens a keyspace of it."""
        return CassandraSettings(contact_points=(self.host,), port=self.port, keyspace=keyspace, replication_factor=1)


@contextlib.contextmanager
def server(address: str, warm_seconds: float) -> Iterator[Node]:
    """Give a Cassandra: HOST:PORT, or (empty) one that is started here with a synced commit log.

    Raises:
        ServerFailed: It cannot be started.
    """
    if address:
        host, _, digits = address.rpartition(":")
        yield Node(host, int(digits))
        return
    # Only here: an installed chatd has no `deploy`, and can be measured on a Cassandra that runs.
    from deploy.local.cassandra.errors import LocalCassandraError
    from deploy.local.cassandra.node import CassandraNode, NodeOptions

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chatd-bench-cassandra-") as directory:
        options = NodeOptions(
            _HOST,
            port,
            free_port(),
            (_HOST,),
            heap=_HEAP,
            optimizes=True,
            request_threads=_REQUEST_THREADS,
            concurrent_writes=_CONCURRENT_WRITES,
        )
        process = CassandraNode(Path(directory), options)
        try:
            process.start()
            process.wait()
            node = Node(_HOST, port, Warming.of(process.pid or 0, warm_seconds))
            if warm_seconds:
                _write_first_rows(node)
            yield node
        except LocalCassandraError as error:
            raise ServerFailed(str(error)) from error
        finally:
            process.kill()


def _write_first_rows(node: Node) -> None:
    settings = node.settings("bench_first_rows")
    trio.run(write_all, _FIRST_ROWS, settings)
    drop(settings)


@contextlib.contextmanager
def keyspace(address: str, name: str, warm_seconds: float) -> Iterator[Database]:
    """Give a keyspace of a Cassandra, and how a server uses it. It is dropped afterwards."""
    with server(address, warm_seconds) as node:
        settings = node.settings(name)
        yield Database(partial(open_cassandra, settings), environment(settings), node.warming)
        if address:
            drop(settings)


def environment(settings: CassandraSettings) -> dict[str, str]:
    """Return what tells a server to use a keyspace."""
    return {
        "CHATD_STORE__KIND": "cassandra",
        "CHATD_CASSANDRA__NODES": json.dumps(settings.contact_points),
        "CHATD_CASSANDRA__PORT": str(settings.port),
        "CHATD_CASSANDRA__KEYSPACE": settings.keyspace,
        "CHATD_CASSANDRA__REPLICATION_FACTOR": str(settings.replication_factor),
    }


def drop(settings: CassandraSettings) -> None:
    """Remove a keyspace with all that is in it."""
    cluster, session = connect(settings)
    try:
        session.execute(f"DROP KEYSPACE {settings.keyspace}", timeout=_DROP_SECONDS)
    finally:
        shutdown(cluster)
