"""Reads and writes everything in a SQLite database, page by page. A place in a table is its primary key, as JSON."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from storage import StoreError, sqlite_meta
from storage import sqlite_messages as messages_table
from storage.migrations import pending, shipped
from storage.moving import RECORDS, Origin, Page, Table
from storage.records import LastSeen, MemberRecord, StoredMessage
from storage.sqlite_accounts import DEVICES, USERS
from storage.sqlite_away import PREFERENCES, PUSH_TOKENS, READ_MARKS
from storage.sqlite_backends import API_KEYS, AUDIT, DATA_KEYS
from storage.sqlite_connection import connect_reader
from storage.sqlite_reader import Readers
from storage.sqlite_records import RecordTable, json_text

# Each table with its primary key, by which it is walked through.
_TABLES: dict[Table, tuple[RecordTable[Any], tuple[str, ...]]] = {
    Table.DATA_KEYS: (DATA_KEYS, ("data_key",)),
    Table.USERS: (USERS, ("user",)),
    Table.DEVICES: (DEVICES, ("device",)),
    Table.API_KEYS: (API_KEYS, ("key_id",)),
    Table.MEMBERS: (RecordTable("members", MemberRecord), ("channel", "user")),
    Table.LAST_SEEN: (RecordTable("last_seen", LastSeen), ("user",)),
    Table.PUSH_TOKENS: (PUSH_TOKENS, ("provider", "token")),
    Table.PREFERENCES: (PREFERENCES, ("user", "channel")),
    Table.READ_MARKS: (READ_MARKS, ("user", "channel")),
    Table.AUDIT: (AUDIT, ("audit_id",)),
}
_MESSAGE_KEY = ("channel", "seq")


@asynccontextmanager
async def open_source(path: Path) -> AsyncIterator[Origin]:
    """Open a database to be read only; a node may serve from it meanwhile.

    Raises:
        StoreError: It does not exist or cannot be opened, or has not this program's schema.
    """
    readers = Readers(partial(connect_reader, path), 1)
    try:
        if await readers.run(lambda db: bool(pending(db, shipped()))):
            raise StoreError("the database has an older schema: run `chatd db migrate` first")
        yield SqliteSource(readers)
    finally:
        readers.close()


class SqliteSource:
    """Implements `storage.moving.Origin`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read a page of a table."""
        return await self._readers.run(lambda db: scan(db, table, after, limit))

    async def get_meta(self, name: str) -> str | None:
        """Return a small named value."""
        return await self._readers.run(lambda db: sqlite_meta.get(db, name))


def scan(connection: sqlite3.Connection, table: Table, after: str | None, limit: int) -> Page:
    """Read a page of a table, by its primary key."""
    place: list[Any] | None = None if after is None else msgspec.json.decode(after)
    records: Sequence[Any]
    key: tuple[str, ...]
    if table is Table.MESSAGES:
        key = _MESSAGE_KEY
        records = messages_table.page(connection, place, limit)
    else:
        rows, key = _TABLES[table]
        listed = ", ".join(key)
        condition = "true" if place is None else f"({listed}) > ({', '.join('?' * len(key))})"
        records = rows.read(connection, f"{condition} ORDER BY {listed} LIMIT ?", (*(place or ()), limit))
    if len(records) < limit:
        return Page(records, None)
    return Page(records, json_text([getattr(records[-1], field) for field in key]))


def load(connection: sqlite3.Connection, table: Table, records: Sequence[msgspec.Struct]) -> None:
    """Write records of a table; those with the same primary key are replaced, but messages stay as they are."""
    assert all(isinstance(record, RECORDS[table]) for record in records)
    if table is Table.MESSAGES:
        messages_table.insert(connection, cast(Sequence[StoredMessage], records))
    else:
        rows, _ = _TABLES[table]
        rows.replace(connection, records)


_: type[Origin] = SqliteSource
