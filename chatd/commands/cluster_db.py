"""`chatd db migrate` and `chatd db status` for a store in Cassandra. Everything here blocks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cassandra.cluster import Session

from chatd.cassandra import NamespaceRules, cassandra_settings
from chatd.config import Config
from storage.cassandra_cluster import connect, shutdown
from storage.cassandra_migrations import applied, migrate, pending, shipped
from storage.migrations import Migration


@contextmanager
def _connected(config: Config, *, makes_keyspace: bool) -> Iterator[Session]:
    settings = cassandra_settings(config, NamespaceRules(config))
    cluster, session = connect(settings, makes_keyspace=makes_keyspace)
    try:
        yield session
    finally:
        shutdown(cluster)


def migrate_cluster(config: Config) -> list[Migration]:
    """Bring the keyspace to the schema of this chatd, and make it if there is none; return what was applied.

    Raises:
        StoreError: No node answers, or the keyspace does not fit this program.
    """
    with _connected(config, makes_keyspace=True) as session:
        return migrate(session, shipped(), lambda: int(time.time() * 1000))


def cluster_status(config: Config) -> dict[str, str]:
    """Say what the cluster is and what schema its keyspace has, a value for each name.

    Raises:
        StoreError: No node answers, or there is no keyspace.
    """
    with _connected(config, makes_keyspace=False) as session:
        hosts = session.cluster.metadata.all_hosts()
        up = sum(bool(host.is_up) for host in hosts)
        keyspace = session.cluster.metadata.keyspaces[config.cassandra.keyspace]
        waiting = pending(session, shipped())
        return {
            "cluster": str(session.cluster.metadata.cluster_name),
            "nodes": f"{up} of {len(hosts)} are up",
            "data centres": ", ".join(sorted({host.datacenter for host in hosts})),
            "keyspace": config.cassandra.keyspace,
            "replication": keyspace.replication_strategy.export_for_schema(),
            "schema version": str(len(applied(session))),
            "pending": ", ".join(f"{migration.number:04}_{migration.name}" for migration in waiting) or "nothing",
        }
