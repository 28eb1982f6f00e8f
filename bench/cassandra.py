"""A Cassandra for the servers under test: started and warmed here for the time of a run, or given by address.

Java compiles what runs often while it runs. In its first five seconds of load a node took 3,500 rows a second where it
took 5,800 half a minute later, and a server has been up for longer than that; so rows are written first that nobody
counts.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio

from bench.servers import Database, ServerFailed, free_port
from bench.store_load import Load, write_all
from storage.cassandra import open_cassandra
from storage.cassandra_cluster import connect, shutdown
from storage.cassandra_settings import CassandraSettings

_HOST = "127.0.0.1"
_DROP_SECONDS = 60.0
_HEAP = "1g"
_REQUEST_THREADS = 8  # as many as chatd has batches under way
_CONCURRENT_WRITES = 64  # so many that no request has to wait for a thread of another pool
_WARMING = Load(channels=500, seconds=60.0)  # a row in each request: it is requests that Java has to learn


@contextlib.contextmanager
def server(address: str) -> Iterator[tuple[str, int]]:
    """Give the address of a Cassandra: HOST:PORT, or (empty) one that is started here with a synced commit log.

    Raises:
        ServerFailed: It cannot be started.
    """
    if address:
        host, _, digits = address.rpartition(":")
        yield host, int(digits)
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
        node = CassandraNode(Path(directory), options)
        try:
            node.start()
            node.wait()
            _warm(port)
            yield _HOST, port
        except LocalCassandraError as error:
            raise ServerFailed(str(error)) from error
        finally:
            node.kill()


def _warm(port: int) -> None:
    settings = CassandraSettings(
        contact_points=(_HOST,),
        port=port,
        keyspace="bench_warming",
        replication_factor=1,
        batches_in_flight=32,
        batch_partitions=1,
    )
    trio.run(write_all, _WARMING, settings)
    drop(settings)


@contextlib.contextmanager
def keyspace(address: str, name: str) -> Iterator[CassandraSettings]:
    """Give a keyspace of a Cassandra: how the bench itself opens it. It is dropped afterwards."""
    with server(address) as (host, port):
        settings = CassandraSettings(contact_points=(host,), port=port, keyspace=name, replication_factor=1)
        yield settings
        if address:
            drop(settings)


def database(settings: CassandraSettings) -> Database:
    """Say how a server uses a keyspace."""
    environment = {
        "CHATD_STORE__KIND": "cassandra",
        "CHATD_CASSANDRA__NODES": json.dumps(settings.contact_points),
        "CHATD_CASSANDRA__PORT": str(settings.port),
        "CHATD_CASSANDRA__KEYSPACE": settings.keyspace,
        "CHATD_CASSANDRA__REPLICATION_FACTOR": str(settings.replication_factor),
    }
    return Database(partial(open_cassandra, settings), environment)


def drop(settings: CassandraSettings) -> None:
    """Remove a keyspace with all that is in it."""
    cluster, session = connect(settings)
    try:
        session.execute(f"DROP KEYSPACE {settings.keyspace}", timeout=_DROP_SECONDS)
    finally:
        shutdown(cluster)
