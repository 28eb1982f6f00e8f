"""Brings a database to the schema of this program: numbered files, applied once each and in order.

Files are called NNNN_name.sql; for Cassandra .cql (storage/cassandra_migrations.py). The table `schema_migrations`
keeps for each applied one its name, the checksum of its text and the time. An applied file must never be changed: write
a new one.

Errors:

    StoreError
    └── MigrationError     the database and this program do not fit together
"""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from storage import StoreError


class MigrationError(StoreError):
    """The database and this program do not fit together. Its text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Identify the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says of one migration that it has."""

    number: int
    name: str
    checksum: str
    at: int


_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.[sc]ql")
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number   INTEGER NOT NULL PRIMARY KEY,
    name     TEXT    NOT NULL,
    checksum TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT
"""


def shipped(folder: Traversable | None = None) -> list[Migration]:
    """Read the migrations of this program for SQLite (or of a folder), by number."""
    return read_folder(folder or resources.files("storage.schema") / "sqlite")


def read_folder(folder: Traversable) -> list[Migration]:
    """Read the migrations of a folder, by number; there must be no gap."""
    found = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations in {folder} are not numbered 1, 2, 3, …")
    return found


def applied(connection: sqlite3.Connection) -> list[Applied]:
    """Read which migrations the database has, by number; none in a new file."""
    table = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'")
    if table.fetchone() is None:
        return []
    rows = connection.execute("SELECT number, name, checksum, at FROM schema_migrations ORDER BY number")
    return [Applied(*row) for row in rows]


def pending(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Return what the database still needs.

    Raises:
        MigrationError: It is newer than this program, or one of its files was changed after it was applied.
    """
    return missing(applied(connection), migrations)


def missing(done: Sequence[Applied], migrations: Sequence[Migration]) -> list[Migration]:
    """Return what a database that has these still needs.

    Raises:
        MigrationError: It is newer than this program, or one of its files was changed after it was applied.
    """
    if len(done) > len(migrations):
        raise MigrationError(
            f"the database has schema version {len(done)}, this program knows {len(migrations)}: use a newer chatd"
        )
    for migration, row in zip(migrations, done, strict=False):
        if (migration.number, migration.checksum) != (row.number, row.checksum):
            raise MigrationError(
                f"migration {row.number:04}_{row.name} is not the one that was applied to the database: "
                "use the chatd that made it, and put changes into a new migration"
            )
    return list(migrations[len(done) :])


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], now: Callable[[], int]) -> list[Migration]:
    """Apply what is pending, each in one transaction; return what was applied.

    Two processes may do this at once: one waits for the other and then finds nothing left to do.

    Raises:
        MigrationError: See `pending`; or a migration failed, and nothing of it was kept.
    """
    made = []
    while (migration := _apply_next(connection, migrations, now)) is not None:
        made.append(migration)
    return made


def _apply_next(
    connection: sqlite3.Connection, migrations: Sequence[Migration], now: Callable[[], int]
) -> Migration | None:
    if not pending(connection, migrations):
        return None
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again inside the transaction: another process may have been faster.
        waiting = pending(connection, migrations)
        if not waiting:
            return None
        _apply(connection, waiting[0], now())
        connection.execute("COMMIT")
        return waiting[0]
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _apply(connection: sqlite3.Connection, migration: Migration, at: int) -> None:
    connection.execute(_TABLE)
    try:
        for statement in _statements(migration.text):
            connection.execute(statement)
    except sqlite3.Error as error:
        raise MigrationError(f"migration {migration.number:04}_{migration.name} failed: {error}") from error
    connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum, at) VALUES (?, ?, ?, ?)",
        (migration.number, migration.name, migration.checksum, at),
    )


def _statements(text: str) -> list[str]:
    """Split a file into its statements: executescript() would commit the transaction they are applied in."""
    statements = []
    waiting = ""
    for line in text.splitlines(keepends=True):
        waiting += line
        if sqlite3.complete_statement(waiting):
            statements.append(waiting)
            waiting = ""
    if waiting.strip():
        statements.append(waiting)
    return statements
