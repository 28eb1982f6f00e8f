"""What other tests take for granted about the Cassandra that they share."""

from pathlib import Path

import pytest

from deploy.local.cassandra.errors import LocalCassandraError
from deploy.local.cassandra.node import CassandraNode, NodeOptions
from tests.rig.cassandra import CassandraServer, Keyspace

pytestmark = pytest.mark.system


def test_a_keyspace_is_new_and_takes_rows(cassandra: Keyspace, cassandra_server: CassandraServer) -> None:
    session = cassandra_server.session
    session.execute(f"CREATE TABLE {cassandra.name}.places (channel text PRIMARY KEY, seq bigint)")
    session.execute(f"INSERT INTO {cassandra.name}.places (channel, seq) VALUES ('room:a', 7)")
    assert [row.seq for row in session.execute(f"SELECT seq FROM {cassandra.name}.places")] == [7]


def test_two_keyspaces_of_a_server_are_different(cassandra: Keyspace, cassandra_server: CassandraServer) -> None:
    other = cassandra_server.make_keyspace()
    assert other != cassandra
    cassandra_server.drop_keyspace(other)


def test_an_acknowledged_row_is_on_disk(cassandra_server: CassandraServer) -> None:
    rows = cassandra_server.session.execute("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
    assert [row.value for row in rows] == ["batch"]


def test_a_node_does_not_start_where_another_one_answers(cassandra_server: CassandraServer, tmp_path: Path) -> None:
    node = CassandraNode(tmp_path / "n1", NodeOptions(port=cassandra_server.port))
    with pytest.raises(LocalCassandraError, match=f"another Cassandra answers on 127.0.0.1:{cassandra_server.port}"):
        node.start()
    assert node.pid is None
