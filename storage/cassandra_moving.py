"""Reads and writes everything in a keyspace, page by page. A place in a table is Cassandra's own paging state, as text.

A page is a read from one token on, so no node is asked for more than it gives, and the order is that of the hashes of
the partitions. The state names a partition and a row, and is good on every node and after a restart.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, assert_never

import trio

from protocol.names import ChannelName
from storage import Store, append
from storage.cassandra_accounts import DEVICES, USERS, Accounts
from storage.cassandra_away import MARKS, PREFERENCES, TOKENS
from storage.cassandra_backends import API_KEYS, AUDIT, DATA_KEYS
from storage.cassandra_batches import at_once, split
from storage.cassandra_cluster import READ, refusal
from storage.cassandra_members import Members, members_of
from storage.cassandra_records import RecordTable
from storage.cassandra_rows import EXPIRING, KEPT, for_both
from storage.cassandra_session import Row, Session
from storage.message_rows import COLUMNS, message_of
from storage.moving import Page, Source, Table
from storage.records import LastSeen, MemberRecord, StoredMessage

CHANNEL_MEMBERS = 50  # counted for a row of members when a page is sized
PIECE_ROWS = 1000  # messages that are queued together, if the queue takes so many

_MESSAGES = for_both(f"SELECT {COLUMNS} FROM {{table}}")
_MEMBERS = "SELECT channel, members FROM members"
_LAST_SEEN = RecordTable("last_seen", LastSeen)
_PLAIN: dict[Table, RecordTable[Any]] = {
    Table.DATA_KEYS: DATA_KEYS,
    Table.USERS: USERS,
    Table.DEVICES: DEVICES,
    Table.API_KEYS: API_KEYS,
    Table.LAST_SEEN: _LAST_SEEN,
    Table.PUSH_TOKENS: TOKENS,
    Table.PREFERENCES: PREFERENCES,
    Table.READ_MARKS: MARKS,
    Table.AUDIT: AUDIT,
}


class CassandraSource:
    """Implements `storage.moving.Source`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read a page of a table."""
        if table is Table.MESSAGES:
            return await self._scan_messages(after, limit)
        if table is Table.MEMBERS:
            rows, state = await self._page(_MEMBERS, after, max(1, limit // CHANNEL_MEMBERS))
            return Page([record for channel, text in rows for record in members_of(channel, text)], state)
        rows, state = await self._page(_PLAIN[table].select, after, limit)
        # An account that was changed while it was erased may have left a row without a name.
        return Page([_PLAIN[table].record(row) for row in rows if None not in row[:1]], state)

    async def _scan_messages(self, after: str | None, limit: int) -> Page:
        """Read a page of what is kept for ever, and behind it of what expires."""
        name, _, place = (after or KEPT).partition(" ")
        rows, state = await self._page(_MESSAGES[name], place or None, limit)
        messages = [message_of(row) for row in rows if row[1] is not None]
        if state is None and name == KEPT:
            return Page(messages, EXPIRING)
        return Page(messages, None if state is None else f"{name} {state}")

    async def _page(self, query: str, after: str | None, limit: int) -> tuple[Sequence[Row], str | None]:
        prepared = await self._session.prepare(query)
        return await trio.to_thread.run_sync(
            _read_page, self._session.driver, prepared, after, limit, abandon_on_cancel=True
        )


def _read_page(driver: Any, prepared: Any, after: str | None, limit: int) -> tuple[Sequence[Row], str | None]:
    """Read a page, in a thread."""
    bound = prepared.bind(())
    bound.fetch_size = limit
    try:
        state = None if after is None else bytes.fromhex(after)
        result = driver.execute(bound, execution_profile=READ, paging_state=state)
    except Exception as error:
        raise refusal(error) from error
    return result.current_rows, result.paging_state.hex() if result.paging_state else None


class Loader:
    """Writes records as they are."""

    def __init__(self, store: Store, session: Session, accounts: Accounts, members: Members) -> None:
        self._store = store
        self._session = session
        self._accounts = accounts
        self._members = members
        most = session.settings.queue_rows
        self._piece_rows = min(PIECE_ROWS, most)
        self._room = trio.CapacityLimiter(most // self._piece_rows)  # pieces that the queue takes at the same time

    async def load(self, table: Table, records: Sequence[Any]) -> None:
        """Write records of a table; those with the same primary key are replaced, but messages stay as they are."""
        store = self._store
        match table:
            case Table.MESSAGES:
                await self._load_messages(records)
            case Table.MEMBERS:
                await self._load_members(records)
            case Table.USERS:
                await _each(self._accounts.load_user, records)
            case Table.DEVICES:
                await _each(self._accounts.put_device, records)
            case Table.LAST_SEEN:
                await store.save_last_seen({record.user: record.at for record in records})
            case Table.PUSH_TOKENS:
                await _each(store.put_push_token, records)
            case Table.PREFERENCES:
                await _each(store.put_preference, records)
            case Table.READ_MARKS:
                await store.save_read_marks(records)
            case Table.AUDIT:
                await store.add_audit(records)
            case Table.API_KEYS:
                await _each(store.put_api_key, records)
            case Table.DATA_KEYS:
                await _each(store.put_data_key, records)
            case _:
                assert_never(table)

    async def _load_messages(self, records: Sequence[StoredMessage]) -> None:
        """Write messages, and wait for room where others that are loaded at the same time fill the queue."""
        for piece in split(records, self._piece_rows):
            async with self._room:
                await append(self._store, piece)

    async def _load_members(self, records: Sequence[MemberRecord]) -> None:
        of_channel: dict[ChannelName, list[MemberRecord]] = {}
        for record in records:
            of_channel.setdefault(record.channel, []).append(record)
        await at_once([partial(self._members.load, channel, its) for channel, its in of_channel.items()])


async def _each(write: Callable[[Any], Awaitable[None]], records: Sequence[Any]) -> None:
    await at_once([partial(write, record) for record in records])


_: type[Source] = CassandraSource
