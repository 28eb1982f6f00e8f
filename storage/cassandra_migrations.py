"""Brings a keyspace to the schema of this program: numbered files, applied by one node at a time.

Files are called NNNN_name.cql. Cassandra has no transaction around changes of a schema, so every statement of a file
can be repeated (IF NOT EXISTS): a node that ends in the middle leaves a file that the next one applies again from the
start. Nodes that start at the same time take turns by a row with a time to live, taken by a lightweight transaction;
whoever finds nothing to do does not take it. All statements of a file go to one node of Cassandra; a file counts as
applied when all its nodes have the same schema then. Everything here blocks: call it off the trio thread.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import structlog
from cassandra import DriverException, InvalidRequest
from cassandra.cluster import Session as DriverSession
from cassandra.pool import Host

from storage import StoreError, StoreUnavailable
from storage.cassandra_cluster import CONDITIONAL, WRITE, refusal
from storage.migrations import Applied, Migration, MigrationError, missing, read_folder

LOCK_SECONDS = 60  # a node that ended while it had the lock holds the others up for so long
WAIT_SECONDS = 300.0
SAY_SECONDS = 5.0  # a node that changes the schema beside this one is done sooner; who waits for longer says why
POLL_SECONDS = 0.3
STATEMENT_SECONDS = 30.0  # a table takes 0.1 s
AGREE_SECONDS = 30.0  # for all nodes to have the same schema; they tell each other their versions every second

# With an id of its own: two nodes may make such a table at the same moment, and Cassandra would otherwise take them for
# two tables of one name.
_MARK_TABLE = """
CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations (number int PRIMARY KEY, name text, checksum text, at bigint)
WITH ID = {id}
"""
_LOCK_TABLE = "CREATE TABLE IF NOT EXISTS {keyspace}.schema_lock (name text PRIMARY KEY, owner text) WITH ID = {id}"
_MARKS = "SELECT number, name, checksum, at FROM schema_migrations"
_MARK = "INSERT INTO schema_migrations (number, name, checksum, at) VALUES (%s, %s, %s, %s)"
_TAKE = f"INSERT INTO schema_lock (name, owner) VALUES ('migrations', %s) IF NOT EXISTS USING TTL {LOCK_SECONDS}"
_HOLD = f"UPDATE schema_lock USING TTL {LOCK_SECONDS} SET owner = %s WHERE name = 'migrations' IF owner = %s"
_LEAVE = "DELETE FROM schema_lock WHERE name = 'migrations' IF owner = %s"

_log = structlog.get_logger()


def shipped() -> list[Migration]:
    """Read the migrations of this program, by number."""
    return read_folder(resources.files("storage.schema") / "cassandra")


def applied(driver: DriverSession) -> list[Applied]:
    """Read which migrations the keyspace has, by number; none in a new one."""
    if "schema_migrations" not in _tables(driver):
        return []
    try:
        rows = _run(driver, _MARKS)
    except StoreError as error:
        if isinstance(error.__cause__, InvalidRequest):
            return []  # another node just makes the table: Cassandra lists one a moment before it can be read
        raise
    return sorted((Applied(*row) for row in rows), key=lambda row: row.number)


def pending(driver: DriverSession, migrations: Sequence[Migration]) -> list[Migration]:
    """Return what the keyspace still needs.

    Raises:
        MigrationError: It is newer than this program, or one of its files was changed after it was applied.
    """
    return missing(applied(driver), migrations)


def migrate(driver: DriverSession, migrations: Sequence[Migration], now: Callable[[], int]) -> list[Migration]:
    """Apply what is pending, in order; return what this node applied.

    Raises:
        MigrationError: See `pending`; or another node held the lock for too long, or a statement failed.
        StoreUnavailable: The cluster does not answer.
    """
    made: list[Migration] = []
    if not pending(driver, migrations):
        return made
    tables = (_LOCK_TABLE, _MARK_TABLE)
    ids = [uuid5(NAMESPACE_URL, f"{driver.keyspace} {table}") for table in tables]
    _change(driver, [table.format(keyspace=driver.keyspace, id=its) for table, its in zip(tables, ids, strict=True)])
    lock = _Lock(driver, secrets.token_urlsafe(12))
    lock.take()
    try:
        for migration in pending(driver, migrations):  # asked again: another node may have been faster
            _apply(driver, migration, lock, now())
            made.append(migration)
    finally:
        lock.leave()
    return made


class _Lock:
    """The right to change the schema, of one node at a time."""

    def __init__(self, driver: DriverSession, owner: str) -> None:
        self._driver = driver
        self._owner = owner

    def take(self) -> None:
        """Wait for it; say so where it takes long."""
        began = time.monotonic()
        is_said = False
        while not self._ask(_TAKE, self._owner):
            waited = time.monotonic() - began
            if waited > WAIT_SECONDS:
                raise MigrationError(
                    f"another node has been changing the schema for {WAIT_SECONDS:.0f} s: look after it"
                )
            if waited > SAY_SECONDS and not is_said:
                is_said = True
                reason = f"another node changes the schema; if it ended, its turn lapses after {LOCK_SECONDS} s"
                _log.warning("waiting for the schema of Cassandra", reason=reason)
            time.sleep(POLL_SECONDS)

    def hold(self) -> None:
        """Hold it for LOCK_SECONDS more."""
        if not self._ask(_HOLD, self._owner, self._owner):
            raise MigrationError("a migration took too long, and another node may have taken over: start again")

    def leave(self) -> None:
        """Let the next one in. If that fails, its time to live does it."""
        with contextlib.suppress(StoreError):
            self._ask(_LEAVE, self._owner)

    def _ask(self, query: str, *values: str) -> bool:
        return bool(_run(self._driver, query, values, CONDITIONAL)[0][0])


def _apply(driver: DriverSession, migration: Migration, lock: _Lock, at: int) -> None:
    try:
        _change(driver, statements(migration.text), before_each=lock.hold)
    except (StoreUnavailable, MigrationError):
        raise
    except StoreError as error:
        raise MigrationError(f"migration {migration.number:04}_{migration.name} failed: {error}") from error
    _run(driver, _MARK, (migration.number, migration.name, migration.checksum, at))


def _change(driver: DriverSession, changes: Sequence[str], before_each: Callable[[], None] = lambda: None) -> None:
    """Change the schema, and return when all nodes that are up have it.

    The driver would wait for them after every statement, a second each. Here one node makes all changes, so that it
    knows each when it comes to the next, and the others are waited for once. It is the node of the control connection,
    which the driver asks who has which schema: another one might know of no change yet, and find that all agree.
    """
    cluster = driver.cluster
    node = cluster.get_control_connection_host()
    usual, cluster.max_schema_agreement_wait = cluster.max_schema_agreement_wait, 0
    try:
        for statement in changes:
            before_each()
            _run(driver, statement, host=node)
    finally:
        cluster.max_schema_agreement_wait = usual
    try:
        cluster.refresh_schema_metadata(max_schema_agreement_wait=AGREE_SECONDS)
        if node is None or cluster.get_control_connection_host() != node:
            raise StoreUnavailable("the connection to Cassandra was lost while its schema was changed")
    except DriverException as error:
        raise StoreUnavailable(f"Cassandra's nodes had different schemas for {AGREE_SECONDS:.0f} s") from error


def statements(text: str) -> list[str]:
    """Split a file at the semicolons that end its lines; comments are lines of their own."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def _tables(driver: DriverSession) -> set[str]:
    query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
    return {name for (name,) in _run(driver, query, (driver.keyspace,))}


def _run(
    driver: DriverSession, query: str, values: Sequence[Any] = (), profile: object = WRITE, host: Host | None = None
) -> list[Any]:
    """Ask one node, or whichever the driver takes."""
    more = {"execution_profile": profile, "timeout": STATEMENT_SECONDS, "host": host}
    try:
        return list(driver.execute(query, values or None, **more))
    except Exception as error:
        raise refusal(error) from error
