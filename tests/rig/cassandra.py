"""Real Cassandra: one node that a whole test run shares, and clusters of three for tests that end or mislead nodes.

A node takes about 6 s of a free core to start, and 0.9 GB. Everything here blocks until it is done.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, ResultSet, Session
from cassandra.policies import WhiteListRoundRobinPolicy

from deploy.local.cassandra.cluster import LocalCluster
from deploy.local.cassandra.node import CassandraNode, NodeOptions
from tests.rig.cassandra_clock import HeldBackClock
from tests.rig.ports import free_port

# The shared node does not flush its own tables with each change of the schema and each TRUNCATE, which about halves
# their time. Such a node does not come back after a kill, and nobody kills it.
_QUICK = ("-Dcassandra.test.flush_local_schema_changes=false", "-Dcassandra.unsafesystem=true")

# A node ends with the test run, however that ends: Linux kills it when the thread that started it is no more. So it
# must be started in the main thread, and not in one that trio lends and ends.
_TIED = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True)
class Keyspace:
    """A keyspace, and where it is."""

    host: str
    port: int
    name: str


class CassandraServer:
    """The one node that a test run shares. Its keyspaces have a single copy of each row."""

    def __init__(self, directory: Path) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self._node = CassandraNode(
            directory / "cassandra",
            NodeOptions(
                port=self.port,
                storage_port=free_port(),
                java_options=_QUICK,
                launcher=_TIED,
                seeds=(self.host,),
            ),
        )
        self._made = 0

    def start(self) -> "CassandraServer":
        """Start it, and return when it serves."""
        self._node.start()
        self._node.wait()
        self._cluster, self._session = connect(self.host, self.port)
        return self

    def stop(self) -> None:
        """End it; its rows are nobody's any more."""
        self._cluster.shutdown()
        self._node.kill()

    @property
    def session(self) -> Session:
        """The driver's session, for a look into the tables. Its calls block."""
        return self._session

    def make_keyspace(self) -> Keyspace:
        """Make a keyspace without tables, which takes 40 ms; a table takes as long again."""
        self._made += 1
        keyspace = Keyspace(self.host, self.port, f"test_{self._made}")
        create_keyspace(self._session, keyspace.name, copies=1)
        return keyspace

    def empty(self, keyspace: Keyspace) -> None:
        """Remove all rows, and leave the tables and which migrations were applied. To make them anew takes seconds."""
        query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
        tables = [table for (table,) in self._session.execute(query, (keyspace.name,)) if table != "schema_migrations"]
        used = self._at_once(f"SELECT * FROM {keyspace.name}.{table} LIMIT 1" for table in tables)
        filled = [table for table, rows in zip(tables, used, strict=True) if rows.one() is not None]
        self._at_once(f"TRUNCATE {keyspace.name}.{table}" for table in filled)

    def _at_once(self, queries: Iterable[str]) -> list[ResultSet]:
        """Run queries at the same time, and return what each found."""
        return [future.result() for future in [self._session.execute_async(query) for query in queries]]

    def drop_keyspace(self, keyspace: Keyspace) -> None:
        """Drop it, which takes about 80 ms for each of its tables."""
        self._session.execute(f"DROP KEYSPACE IF EXISTS {keyspace.name}")


class CassandraCluster:
    """Three nodes of a test's own, on free addresses: `nodes` may be killed, paused, stopped and started each."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
        self.port = free_port(f"{network}.1")
        options = NodeOptions(port=self.port, storage_port=free_port(f"{network}.1"), launcher=_TIED)
        self._cluster = LocalCluster(directory, nodes, options, network)
        self.clocks = [HeldBackClock(directory / f"clock{number}") for number in range(nodes)]
        """The clock of each node: `set_back` works on a running one."""
        for node, clock in zip(self.nodes, self.clocks, strict=True):
            node.options = replace(node.options, java_options=clock.java_options, class_path=(clock.class_path,))

    @property
    def nodes(self) -> list[CassandraNode]:
        """Each node, running or not."""
        return self._cluster.nodes

    @property
    def addresses(self) -> list[str]:
        """The address of each node; all have the same port."""
        return self._cluster.addresses

    def start(self) -> "CassandraCluster":
        """Start the nodes that do not run, and return when every running node sees every other."""
        self._cluster.start()
        return self

    async def start_node(self, number: int) -> None:
        """Start one node, and return when it serves and sees all others. They must run."""
        node = self.nodes[number]
        node.start()  # in this thread: see `_TIED`
        await trio.to_thread.run_sync(node.wait_for_all)

    def stop(self) -> None:
        """End all nodes at once; their rows are nobody's any more."""
        self._cluster.kill()

    def make_keyspace(self, name: str, copies: int = 3) -> None:
        """Make a keyspace with this many copies of each row."""
        with self.session() as session:
            create_keyspace(session, name, copies)

    @contextmanager
    def session(self, number: int = 0) -> Iterator[Session]:
        """Open the driver's session with one node alone, which coordinates all that is asked."""
        cluster, session = connect(self.addresses[number], self.port)
        try:
            yield session
        finally:
            cluster.shutdown()


def connect(host: str, port: int) -> tuple[Cluster, Session]:
    """Open the driver's connection to this node and no other. Both must be shut down by `Cluster.shutdown`."""
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]), request_timeout=30.0)
    cluster = Cluster([host], port=port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    return cluster, cluster.connect()


def create_keyspace(session: Session, name: str, copies: int) -> None:
    """Make a keyspace in the one data centre that local nodes are in."""
    replication = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {copies}}}"
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
