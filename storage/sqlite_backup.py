"""Copies a database while it is used."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from storage import COPIED_AT, StoreError, StoreUnavailable
from storage import sqlite_meta as meta

STEP_PAGES = 1000  # copied between two calls of `progress`

Progress = Callable[[int, int], None]
"""Takes how many pages are copied, and how many there are."""


def backup(source: sqlite3.Connection, target: Path, progress: Progress) -> None:
    """Copy the database as it is now to a new file, which appears under its name when it is whole and on disk.

    Others may write meanwhile; what they write is not in the copy.

    Raises:
        StoreError: There is such a file already.
        StoreUnavailable: The copy could not be made.
    """
    if target.exists():
        raise StoreError(f"{target} exists already: a backup overwrites nothing")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        _copy(source, partial, progress)
        os.rename(partial, target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{target}: {error}") from error


def _copy(source: sqlite3.Connection, target: Path, progress: Progress) -> None:
    # One reading transaction for the whole copy: without it every write of the server would start the copy anew.
    source.execute("BEGIN")
    source.execute("SELECT 1 FROM sqlite_schema").fetchone()
    copy = sqlite3.connect(target)
    try:
        source.backup(copy, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
        meta.put(copy, COPIED_AT, str(int(time.time() * 1000)))
        copy.commit()
        # One file that can be read where nothing can be written; a node that opens it turns the log on again.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
        source.execute("ROLLBACK")
    _sync(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
