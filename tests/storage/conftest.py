"""Stores for the tests of storage."""

from collections.abc import Callable, Iterator

import pytest

from storage.cassandra_settings import CassandraSettings
from tests.rig.cassandra import CassandraServer, Keyspace

MakeSettings = Callable[..., CassandraSettings]


def cassandra_settings(keyspace: Keyspace, **more: object) -> CassandraSettings:
    """Say where a keyspace is."""
    return CassandraSettings(
        contact_points=(keyspace.host,),
        port=keyspace.port,
        keyspace=keyspace.name,
        replication_factor=1,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def _shared_keyspace(cassandra_server: CassandraServer) -> Keyspace:
    return cassandra_server.make_keyspace()


@pytest.fixture
def empty_keyspace(cassandra_server: CassandraServer, _shared_keyspace: Keyspace) -> Iterator[Keyspace]:
    """Return a keyspace of which every table is empty, or that has none yet. To make one anew takes seconds."""
    yield _shared_keyspace
    cassandra_server.empty(_shared_keyspace)
