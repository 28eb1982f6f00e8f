"""The schema of Cassandra is brought forward by `chatd db migrate` while a node writes with the older one."""

import subprocess
import sys
from functools import partial
from importlib import resources
from pathlib import Path

import pytest
import trio

from storage.cassandra import open_cassandra
from storage.cassandra_migrations import applied, shipped
from storage.cassandra_settings import CassandraSettings
from storage.migrations import MigrationError
from tests.rig.cassandra import Keyspace
from tests.rig.history import Writers, faults
from tests.system.process import START_SECONDS, environment

pytestmark = pytest.mark.system

CHANNELS = 20
MESSAGES = 300  # before the migration, and after it
PAUSE_SECONDS = 0.01  # of each writer: the migration is to be among writes, not behind them

# A chatd of a later version: the same program, with one migration more.
LATER = """
import sys
from pathlib import Path
from chatd.cli import main
from chatd.commands import cluster_db
from storage.migrations import read_folder
cluster_db.shipped = lambda: read_folder(Path(sys.argv[1]))
main(["db", *sys.argv[2:]])
"""
MIGRATION = """
CREATE TABLE IF NOT EXISTS moods (user text PRIMARY KEY, mood text);
ALTER TABLE messages ADD IF NOT EXISTS mood text;
ALTER TABLE message_keys ADD IF NOT EXISTS mood text;
"""


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """Return the folder with the migrations of the later version."""
    folder = tmp_path / "schema"
    folder.mkdir()
    for file in (resources.files("storage.schema") / "cassandra").iterdir():
        if file.name.endswith(".cql"):
            (folder / file.name).write_text(file.read_text())
    (folder / f"{len(shipped()) + 1:04}_moods.cql").write_text(MIGRATION)
    return folder


def run_later(schema: Path, keyspace: Keyspace, command: str) -> str:
    """Run `chatd db` of the later version, and return what it said."""
    settings: dict[str, object] = {
        "store.kind": "cassandra",
        "cassandra.port": keyspace.port,
        "cassandra.keyspace": keyspace.name,
        "cassandra.replication_factor": 1,
    }
    run = subprocess.run(
        [sys.executable, "-c", LATER, str(schema), command],
        cwd=schema,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


async def test_two_that_migrate_at_once_fail_no_write_of_a_node_that_serves(cassandra: Keyspace, schema: Path) -> None:
    said: list[str] = []

    async def migrate() -> None:
        said.append(await trio.to_thread.run_sync(run_later, schema, cassandra, "migrate"))

    settings = CassandraSettings(port=cassandra.port, keyspace=cassandra.name, replication_factor=1)
    async with open_cassandra(settings) as store:
        writers = Writers(store, CHANNELS, PAUSE_SECONDS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writers.run)
            await writers.write_more(MESSAGES)
            before = writers.history.messages
            async with trio.open_nursery() as migrating:
                migrating.start_soon(migrate)
                migrating.start_soon(migrate)
            assert writers.history.messages > before
            await writers.write_more(MESSAGES)
            writers.stop()
        assert writers.history.errors == []
        assert await faults(store, writers.history) == []
        # Both know what there is now, and what the older node asks goes on to be answered.
        number = len(shipped()) + 1
        known = await trio.to_thread.run_sync(applied, store.session.driver)
        assert [migration.number for migration in known] == list(range(1, number + 1))
        await store.session.write("INSERT INTO moods (user, mood) VALUES (?, ?)", ("alice", "good"))
        assert await store.session.read("SELECT mood FROM moods WHERE user = ?", ("alice",)) == [("good",)]
    assert sorted(said) == [f"applied {number:04}_moods\n", "the database has this chatd's schema already\n"]
    status = await trio.to_thread.run_sync(partial(run_later, schema, cassandra, "status"))
    assert f"schema version:   {number}\npending:          nothing\n" in status
    with pytest.raises(MigrationError, match="newer"):  # the older version does not start any more
        async with open_cassandra(settings):
            pass
