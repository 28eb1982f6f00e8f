"""The data keys of a SQLite database, for who looks after them while a node serves from it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from storage import StoreError
from storage.migrations import pending, shipped
from storage.records import DataKeyRecord
from storage.sealing import DataKeys
from storage.sqlite_backends import DATA_KEYS, data_keys
from storage.sqlite_connection import connect_reader, connect_writer
from storage.sqlite_reader import Readers


@asynccontextmanager
async def open_data_keys(path: Path) -> AsyncIterator[DataKeys]:
    """Open a database that exists, without the lock: the only table that is written has no numbers of a node's memory.

    Raises:
        StoreError: It does not exist, cannot be opened, or has not this program's schema.
    """
    connections = Readers(partial(_connect, path), 1)
    try:
        if await connections.run(lambda db: bool(pending(db, shipped()))):
            raise StoreError("the database has an older schema: run `chatd db migrate` first")
        yield SqliteDataKeys(connections)
    finally:
        connections.close()


class SqliteDataKeys:
    """Implements `storage.sealing.DataKeys`; each call is a transaction of its own."""

    def __init__(self, connections: Readers) -> None:
        self._connections = connections

    async def data_keys(self) -> list[DataKeyRecord]:
        """Return all data keys, the oldest first."""
        return await self._connections.run(data_keys)

    async def put_data_key(self, key: DataKeyRecord) -> None:
        """Make or replace a data key."""
        await self._connections.run(lambda db: DATA_KEYS.replace(db, [key]))


def _connect(path: Path) -> sqlite3.Connection:
    connect_reader(path).close()  # a connection that writes would make the file
    return connect_writer(path)


_: type[DataKeys] = SqliteDataKeys
