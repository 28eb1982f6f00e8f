"""Keeps a second process from serving the same database: the seqs that each has in memory would collide."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from storage import StoreError, StoreUnavailable


class DatabaseInUse(StoreError):
    """Another process has the database."""


class FileLock:
    """Holds a lock file beside the database while in its `with` block. The kernel frees it when the process dies."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise DatabaseInUse(
                f"{self._database} is in use by another chatd (process {owner or 'unknown'}): stop it first"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The file stays: if it were removed, one process could lock the removed file and another a new one.
        os.close(self._descriptor)
