"""The jobs and small values of a SQLite database, for who looks after them while a node serves from it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from storage import StoreError, sqlite_meta
from storage.jobs import JobQueue
from storage.migrations import pending, shipped
from storage.sqlite import SqliteStore
from storage.sqlite_connection import connect_reader, connect_writer
from storage.sqlite_jobs import SqliteJobs
from storage.sqlite_reader import Readers
from storage.sqlite_writer import Writer

# A few writes of a person at a terminal.
_QUEUE_ROWS = 1000
_CACHE_KIB = 2048


@dataclass(frozen=True, slots=True)
class Beside:
    """What may be changed without the lock: no node keeps numbers of it in memory."""

    jobs: JobQueue
    store: SqliteStore
    """For accounts, API keys and the audit alone: of messages and members a node that serves keeps its own account."""
    _readers: Readers
    _writer: Writer

    async def get_meta(self, name: str) -> str | None:
        """Return a small named value."""
        return await self._readers.run(lambda db: sqlite_meta.get(db, name))

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or (None) remove a small named value."""
        await self._writer.run(lambda db: sqlite_meta.put(db, name, value))


@asynccontextmanager
async def open_beside(path: Path, *, waiting: int, kept_dead: int) -> AsyncIterator[Beside]:
    """Open a database that exists; the bounds are those of its jobs.

    Raises:
        StoreError: It does not exist, cannot be opened, or has not this program's schema.
    """
    readers = Readers(partial(connect_reader, path), 1)
    try:
        if await readers.run(lambda db: bool(pending(db, shipped()))):
            raise StoreError("the database has an older schema: run `chatd db migrate` first")
        writer = Writer(partial(_connect, path), queue_rows=_QUEUE_ROWS, batch_rows=_QUEUE_ROWS)
        try:
            jobs = SqliteJobs(readers, writer, waiting=waiting, kept_dead=kept_dead)
            yield Beside(jobs, SqliteStore(readers, writer, jobs), readers, writer)
        finally:
            with trio.CancelScope(shield=True):
                await writer.aclose()
    finally:
        readers.close()


def _connect(path: Path) -> sqlite3.Connection:
    connect_reader(path).close()  # a connection that writes would make the file
    return connect_writer(path, _CACHE_KIB)
