"""Opens connections to the database file, each with the settings that the store's promises rest on."""

import sqlite3
import time
from pathlib import Path

from storage import StoreUnavailable

OLDEST_SQLITE = (3, 38, 0)  # STRICT tables, and JSON built in
BUSY_SECONDS = 10.0  # two processes may migrate or back up at once
BUSY_PAUSE_SECONDS = 0.01
CHECKPOINT_PAGES = 4000  # 16 MiB: a page that is written often goes to the database once for many transactions
WAL_BYTES = 64 * 1024 * 1024  # a log that grew under a long read is cut back to this


def create_file(path: Path) -> None:
    """Make an empty file that only this user may read, if there is none: it will hold password hashes.

    Raises:
        StoreUnavailable: It cannot be made.
    """
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def connect_writer(path: Path, cache_kib: int = 8192) -> sqlite3.Connection:
    """Open a connection that writes; a commit on it is on disk when it returns.

    The caller may hand it to another thread, and begins and ends transactions itself.

    Raises:
        StoreUnavailable: The file cannot be opened, or the SQLite library is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(str(part) for part in OLDEST_SQLITE)
        raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old, {needed} or newer is needed")
    return _connect(
        path,
        "rwc",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA fullfsync = ON",  # macOS: an ordinary fsync leaves the data in the drive's cache
        "PRAGMA foreign_keys = ON",
        f"PRAGMA cache_size = {-cache_kib}",
        f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"PRAGMA journal_size_limit = {WAL_BYTES}",
    )


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write.

    Raises:
        StoreUnavailable: The file does not exist or cannot be opened.
    """
    return _connect(path, "ro", "PRAGMA query_only = ON")


def _connect(path: Path, mode: str, *pragmas: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    try:
        for pragma in pragmas:
            _set(connection, pragma)
    except sqlite3.Error as error:
        connection.close()
        raise StoreUnavailable(f"{path}: {error}") from error
    return connection


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    """Run a pragma; while another connection has the lock that it needs, again for `BUSY_SECONDS`.

    SQLite waits for locks by itself, but not where two that wait could wait for each other
    (https://www.sqlite.org/c3ref/busy_handler.html): of several that give one new file its write-ahead log at once, it
    refuses some at once.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE_SECONDS)
        else:
            return
