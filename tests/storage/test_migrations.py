"""Migrations are applied once, in order, whole or not at all."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest

from storage.migrations import Migration, MigrationError, applied, migrate, pending, shipped
from storage.sqlite_connection import connect_writer

FIRST = Migration(
    1, "start", "CREATE TABLE one (a TEXT);\n-- a comment; with a semicolon\nINSERT INTO one VALUES ('x;y');\n"
)
SECOND = Migration(2, "more", "CREATE TABLE two (b TEXT)")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect_writer(tmp_path / "chatd.sqlite3")) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in rows}


def test_a_new_database_gets_all_migrations_in_order(connection: sqlite3.Connection) -> None:
    assert migrate(connection, [FIRST, SECOND], lambda: 1234) == [FIRST, SECOND]
    assert tables(connection) == {"schema_migrations", "one", "two"}
    assert [(row.number, row.name, row.checksum, row.at) for row in applied(connection)] == [
        (1, "start", FIRST.checksum, 1234),
        (2, "more", SECOND.checksum, 1234),
    ]
    assert connection.execute("SELECT a FROM one").fetchall() == [("x;y",)]


def test_what_is_applied_is_not_applied_again(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST], lambda: 1)
    assert pending(connection, [FIRST, SECOND]) == [SECOND]
    assert migrate(connection, [FIRST, SECOND], lambda: 2) == [SECOND]
    assert migrate(connection, [FIRST, SECOND], lambda: 3) == []


def test_a_newer_database_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST, SECOND], lambda: 1)
    with pytest.raises(MigrationError, match="schema version 2, this program knows 1"):
        migrate(connection, [FIRST], lambda: 2)


def test_a_changed_file_is_detected(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST], lambda: 1)
    changed = Migration(1, "start", FIRST.text + "-- changed\n")
    with pytest.raises(MigrationError, match="0001_start is not the one"):
        migrate(connection, [changed, SECOND], lambda: 2)
    assert "two" not in tables(connection)


def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(connection: sqlite3.Connection) -> None:
    broken = Migration(2, "broken", "CREATE TABLE two (b TEXT);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(MigrationError, match="0002_broken failed"):
        migrate(connection, [FIRST, broken], lambda: 1)
    assert tables(connection) == {"schema_migrations", "one"}
    assert pending(connection, [FIRST, SECOND]) == [SECOND]
    assert migrate(connection, [FIRST, SECOND], lambda: 2) == [SECOND]


def test_of_several_that_migrate_at_once_each_finds_a_whole_schema(tmp_path: Path) -> None:
    migrations = [Migration(number, "step", f"CREATE TABLE t{number} (a TEXT)") for number in range(1, 20)]
    barrier = threading.Barrier(4)

    def run(_: int) -> list[int]:
        barrier.wait(timeout=60)
        with closing(connect_writer(tmp_path / "chatd.sqlite3")) as connection:
            made = [migration.number for migration in migrate(connection, migrations, lambda: 1)]
            assert pending(connection, migrations) == []
            return made

    with ThreadPoolExecutor(4) as threads:
        made = list(chain.from_iterable(threads.map(run, range(4))))
    assert sorted(made) == list(range(1, 20))


def test_files_must_be_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_start.sql").write_text("SELECT 1")
    (tmp_path / "0003_late.sql").write_text("SELECT 1")
    (tmp_path / "README").write_text("not a migration")
    with pytest.raises(MigrationError, match="not numbered"):
        shipped(tmp_path)
    (tmp_path / "0002_between.sql").write_text("SELECT 1")
    assert [migration.name for migration in shipped(tmp_path)] == ["start", "between", "late"]


def test_the_shipped_migrations_make_a_database(connection: sqlite3.Connection) -> None:
    migrate(connection, shipped(), lambda: 1)
    assert tables(connection) >= {"messages", "members", "users", "devices", "last_seen", "meta"}
