"""Whether the database of a node that keeps everything itself is there, ours, and of this chatd's schema."""

import sqlite3
from contextlib import closing
from pathlib import Path

from chatd.config import Config
from chatd.doctor import Finding, failure, ok, warning
from storage import StoreError
from storage.migrations import applied, pending, shipped
from storage.sqlite_connection import OLDEST_SQLITE, connect_reader

_SUBJECT = "sqlite"


def check_sqlite(config: Config) -> list[Finding]:
    """Open the database for reading and look at how it commits."""
    if config.store.kind != "sqlite":
        return []
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(str(part) for part in OLDEST_SQLITE)
        return [failure(_SUBJECT, f"the library is {sqlite3.sqlite_version}", f"{needed} or newer is needed")]
    path = Path(config.server.var) / config.store.path
    if not path.exists():
        return [ok(_SUBJECT, f"{path} is not there, and will be made")]
    try:
        with closing(connect_reader(path)) as connection:
            return [_look(path, connection)]
    except StoreError as error:  # its text says what to do
        return [failure(_SUBJECT, str(error), f"it is about {path}")]
    except sqlite3.Error as error:
        return [failure(_SUBJECT, f"{path}: {error}", "set store.path, or restore a backup (docs/howto/backup.md)")]


def _look(path: Path, connection: sqlite3.Connection) -> Finding:
    waiting = pending(connection, shipped())
    if waiting and not applied(connection):
        return failure(_SUBJECT, f"{path} is another program's, or empty", "set store.path")
    if waiting:
        advice = "make a backup; the next start brings it up to date, and there is no way back"
        return warning(_SUBJECT, f"{path} has the schema of an older chatd", advice)
    # How a commit is synced is said anew by each connection that writes; the log is a property of the file.
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        return failure(
            _SUBJECT, f"{path} has a journal of mode {mode}", "stop what uses it beside chatd, and start chatd"
        )
    return ok(_SUBJECT, f"{path} commits to a log that is synced before an acknowledgement")
