"""Questions of operators about a Cassandra cluster: which nodes there are, and how each of them keeps what it is given.

Everything here blocks: call it off the trio thread. It changes nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cassandra import InvalidRequest, OperationTimedOut, Unauthorized
from cassandra.cluster import NoHostAvailable
from cassandra.cluster import Session as DriverSession

from storage.cassandra_cluster import open_cluster, refusal_of, shutdown
from storage.cassandra_migrations import pending, shipped
from storage.cassandra_settings import CassandraSettings

_SETTINGS = "SELECT name, value FROM system_views.settings"
_TIME = "SELECT toUnixTimestamp(now()) FROM system.local"
_KEYSPACE = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One node of the data centre that is used. `is_up` is whether it answers this client."""

    address: str
    version: tuple[int, ...]
    is_up: bool
    settings: dict[str, str]
    """Of its configuration, by name; empty where it is down, older than 4.0, or does not let this user see them."""
    ahead_seconds: float = 0.0
    """By how much its clock is ahead of this machine's."""


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """A cluster, as one client sees it."""

    nodes: tuple[NodeSeen, ...]
    copies: dict[str, int]
    """Of each row, by data centre; empty if there is no keyspace yet."""
    pending: int
    """How many migrations the keyspace still needs."""


def inspect_cluster(settings: CassandraSettings) -> ClusterSeen:
    """Connect, and ask every node.

    Raises:
        StoreError: No node answers, or the cluster refuses; or its keyspace does not fit this program.
    """
    cluster = open_cluster(settings)
    try:
        driver = cluster.connect()
        hosts = sorted(cluster.metadata.all_hosts(), key=lambda host: str(host.address))
        centre = settings.datacenter or next(host.datacenter for host in hosts if host.is_up)
        nodes = tuple(_look(driver, host) for host in hosts if host.datacenter == centre)
        copies = _copies(driver, settings.keyspace)
        if copies:
            driver.set_keyspace(settings.keyspace)
        return ClusterSeen(nodes, copies, len(pending(driver, shipped())) if copies else 0)
    except Exception as error:
        raise refusal_of(cluster, settings, error) from error
    finally:
        shutdown(cluster)


def _look(driver: DriverSession, host: Any) -> NodeSeen:
    version = tuple(int(part) for part in host.release_version.split("-")[0].split(".") if part.isdigit())
    if not host.is_up:
        return NodeSeen(str(host.address), version, False, {})
    before = time.time()
    try:
        ((at,),) = driver.execute(_TIME, host=host)
        ahead = at / 1000 - (before + time.time()) / 2
        return NodeSeen(str(host.address), version, True, _settings(driver, host), ahead)
    except (NoHostAvailable, OperationTimedOut):
        return NodeSeen(str(host.address), version, False, {})


def _settings(driver: DriverSession, host: Any) -> dict[str, str]:
    try:
        rows: Sequence[tuple[str, str | None]] = list(driver.execute(_SETTINGS, host=host))
    except (InvalidRequest, Unauthorized):
        return {}
    return {name: value or "" for name, value in rows}


def _copies(driver: DriverSession, keyspace: str) -> dict[str, int]:
    """Return the copies of each row by data centre; a strategy that knows none has them under an empty name."""
    found = {}
    for (replication,) in driver.execute(_KEYSPACE, (keyspace,)):
        for name, count in replication.items():
            if name != "class":
                found["" if name == "replication_factor" else name] = int(count)
    return found
