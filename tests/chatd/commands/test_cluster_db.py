"""`chatd db migrate` and `chatd db status` on a real Cassandra."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatd.commands.db import db
from storage.cassandra_migrations import shipped
from tests.rig.cassandra import CassandraServer

pytestmark = pytest.mark.system

KEYSPACE = "made_by_migrate"


@pytest.fixture
def config(tmp_path: Path, cassandra_server: CassandraServer) -> Path:
    """The configuration of a node whose keyspace is not there."""
    path = tmp_path / "config.toml"
    path.write_text(
        f"[server]\nvar = '{tmp_path}'\n[store]\nkind = 'cassandra'\n[cassandra]\nnodes = ['{cassandra_server.host}']\n"
        f"port = {cassandra_server.port}\nkeyspace = '{KEYSPACE}'\nreplication_factor = 1\n"
    )
    return path


def run(config: Path, command: str) -> Result:
    return CliRunner().invoke(db, [command, "--config", str(config)])


def keyspaces(server: CassandraServer) -> list[str]:
    return [row.keyspace_name for row in server.session.execute("SELECT * FROM system_schema.keyspaces")]


def test_status_makes_no_keyspace_and_migrate_makes_it(config: Path, cassandra_server: CassandraServer) -> None:
    refused = run(config, "status")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"chatd: there is no keyspace {KEYSPACE}: run `chatd db migrate` first\n"
    assert KEYSPACE not in keyspaces(cassandra_server)

    migrations = [f"{migration.number:04}_{migration.name}" for migration in shipped()]
    assert run(config, "migrate").stdout.splitlines() == [f"applied {name}" for name in migrations]
    assert run(config, "migrate").stdout == "the database has this chatd's schema already\n"
    shown = dict(line.split(":", 1) for line in run(config, "status").stdout.splitlines())
    assert {name: text.strip() for name, text in shown.items()} == {
        "cluster": "chatd-local",
        "nodes": "1 of 1 are up",
        "data centres": "datacenter1",
        "keyspace": KEYSPACE,
        "replication": "{'class': 'NetworkTopologyStrategy', 'datacenter1': '1'}",
        "schema version": str(len(migrations)),
        "pending": "nothing",
    }
    cassandra_server.session.execute(f"DROP KEYSPACE {KEYSPACE}")
