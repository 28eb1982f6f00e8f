"""The store of one node: a SQLite file, one thread that writes and a few that read."""

import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import trio

from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import Done, Store, StoreStatistics, StoreUnavailable, UserChannel
from storage import sqlite_accounts as accounts_table
from storage import sqlite_away as away_table
from storage import sqlite_backends as backends_table
from storage import sqlite_members as members_table
from storage import sqlite_messages as messages_table
from storage import sqlite_meta as meta_table
from storage import sqlite_moving as moving
from storage.file_lock import FileLock
from storage.migrations import migrate, shipped
from storage.moving import Page, Source, Table, Target
from storage.records import (
    ApiKeyRecord,
    AuditRecord,
    DataKeyRecord,
    DeviceRecord,
    Membership,
    Place,
    PreferenceRecord,
    Provider,
    PushTokenRecord,
    ReadMark,
    Role,
    Standing,
    StoredMessage,
    UserRecord,
)
from storage.sqlite_connection import connect_reader, connect_writer, create_file
from storage.sqlite_jobs import SqliteJobs
from storage.sqlite_reader import Readers
from storage.sqlite_trim import Rule, Trimmer
from storage.sqlite_writer import Write, Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings:
    """The bounds of the store; `[store]` and `[jobs]` in config.toml say what each is for."""

    queue_rows: int = 100_000
    batch_rows: int = 2000
    read_threads: int = 4
    cache_kib: int = 65536
    jobs_waiting: int = 200_000
    jobs_dead: int = 10_000


@asynccontextmanager
async def open_sqlite(path: Path, settings: SqliteSettings | None = None) -> AsyncIterator["SqliteStore"]:
    """Open the store for one process, and make or migrate the file first.

    Leaving the block waits until everything that was queued is on disk and told, cancelled or not.

    Raises:
        DatabaseInUse: Another process has it.
        MigrationError: It does not fit this program.
        StoreUnavailable: It cannot be opened.
    """
    settings = settings or SqliteSettings()
    with FileLock(path):
        await trio.to_thread.run_sync(prepare, path)
        readers = Readers(partial(connect_reader, path), settings.read_threads)
        writer = Writer(
            partial(connect_writer, path, settings.cache_kib),
            queue_rows=settings.queue_rows,
            batch_rows=settings.batch_rows,
        )
        try:
            jobs = SqliteJobs(readers, writer, waiting=settings.jobs_waiting, kept_dead=settings.jobs_dead)
            yield SqliteStore(readers, writer, jobs)
        finally:
            with trio.CancelScope(shield=True):
                readers.close()
                await writer.aclose()


def prepare(path: Path) -> None:
    """Make the database or bring it to this program's schema. The caller holds its lock."""
    create_file(path)
    connection = connect_writer(path)
    try:
        migrate(connection, shipped(), lambda: int(time.time() * 1000))
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    finally:
        connection.close()


class SqliteStore:
    """Implements `storage.Store`; its promises are said there. `open_sqlite` makes it. `jobs` is in the same file."""

    def __init__(self, readers: Readers, writer: Writer, jobs: SqliteJobs) -> None:
        self.jobs = jobs
        self._readers = readers
        self._writer = writer
        self._trimmer = Trimmer(readers, writer)

    # Messages.

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Queue messages to be written."""
        self._writer.put(Write(messages, done))

    async def head(self, channel: ChannelName) -> Place | None:
        """Return the place of the channel's newest message."""
        return await self._readers.run(lambda db: messages_table.head(db, channel))

    async def history(
        self, channel: ChannelName, *, before: Seq | None = None, after: Seq | None = None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel; with both `after` and `before`, what lies between."""
        return await self._readers.run(lambda db: messages_table.history(db, channel, before, after, limit))

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Return the newest message of this sender with this key."""
        return await self._readers.run(lambda db: messages_table.find(db, sender, key, since))

    async def trim(self, namespace: str, *, older_than: int | None, keep: int | None, limit: int) -> int:
        """Remove messages that the namespace does not keep."""
        return await self._trimmer.trim(Rule(namespace, older_than, keep), limit)

    async def revise(self, message: StoredMessage) -> None:
        """Replace the body of a kept message."""
        await self._writer.run(lambda db: messages_table.revise(db, message))

    # Members. What is written is copied: it is read later, in the writer thread.

    async def members(self, channel: ChannelName) -> dict[UserId, Role]:
        """Return who belongs to the channel."""
        return await self._readers.run(lambda db: members_table.members(db, channel))

    async def create_channel(self, channel: ChannelName, members: Mapping[UserId, Role], at: int) -> None:
        """Make a channel with its first members."""
        first = dict(members)
        await self._writer.run(lambda db: members_table.create_channel(db, channel, first, at))

    async def change_members(
        self, channel: ChannelName, *, put: Mapping[UserId, Role], remove: Iterable[UserId], at: int
    ) -> None:
        """Add members or change their roles, and remove others."""
        added, removed = dict(put), list(remove)
        await self._writer.run(lambda db: members_table.change_members(db, channel, added, removed, at))

    async def memberships(
        self, user: UserId, *, since: int, after: tuple[int, ChannelName] | None = None, limit: int
    ) -> list[Membership]:
        """Return the user's channels, newest first."""
        return await self._readers.run(lambda db: members_table.memberships(db, user, since, after, limit))

    # Accounts and devices.

    async def add_user(self, user: UserRecord) -> None:
        """Make an account."""
        await self._writer.run(lambda db: accounts_table.add_user(db, user))

    async def user(self, user: UserId) -> UserRecord | None:
        """Return the account of this id."""
        return await self._readers.run(lambda db: accounts_table.user(db, user))

    async def put_user(self, user: UserRecord) -> None:
        """Replace an existing account's record."""
        await self._writer.run(lambda db: accounts_table.put_user(db, user))

    async def put_device(self, device: DeviceRecord) -> None:
        """Make or replace a device's record."""
        await self._writer.run(lambda db: accounts_table.put_device(db, device))

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        """Return a device's record."""
        return await self._readers.run(lambda db: accounts_table.device(db, device))

    async def devices(self, user: UserId) -> list[DeviceRecord]:
        """Return the user's devices that are not revoked."""
        return await self._readers.run(lambda db: accounts_table.devices(db, user))

    async def rotate_device(self, device: DeviceRecord, expected_generation: int) -> bool:
        """Replace the record if it still has this generation."""
        return await self._writer.run(lambda db: accounts_table.rotate_device(db, device, expected_generation))

    async def revoke_device(self, device: DeviceId, at: int) -> bool:
        """Mark a device revoked."""
        return await self._writer.run(lambda db: accounts_table.revoke_device(db, device, at))

    async def revoked_since(self, at: int) -> list[DeviceId]:
        """Return the devices revoked since then."""
        return await self._readers.run(lambda db: accounts_table.revoked_since(db, at))

    async def users(self, *, after: UserId | None = None, limit: int) -> list[UserRecord]:
        """Return a page of accounts, by name."""
        return await self._readers.run(lambda db: accounts_table.users(db, after, limit))

    async def erase_user(self, user: UserId) -> None:
        """Remove the account and what belongs to it."""
        await self._writer.run(lambda db: accounts_table.erase_user(db, user))

    # What backends and operators may do, and did.

    async def put_api_key(self, key: ApiKeyRecord) -> None:
        """Make or replace an API key."""
        await self._writer.run(lambda db: backends_table.API_KEYS.replace(db, [key]))

    async def api_key(self, key_id: str) -> ApiKeyRecord | None:
        """Return an API key."""
        return await self._readers.run(lambda db: backends_table.api_key(db, key_id))

    async def api_keys(self) -> list[ApiKeyRecord]:
        """Return all API keys."""
        return await self._readers.run(backends_table.api_keys)

    async def add_audit(self, records: Sequence[AuditRecord]) -> None:
        """Keep what was done."""
        copy = list(records)
        await self._writer.run(lambda db: backends_table.add_audit(db, copy))

    async def audit(self, *, before: int | None = None, limit: int) -> list[AuditRecord]:
        """Return what was done, the newest first."""
        return await self._readers.run(lambda db: backends_table.audit(db, before, limit))

    # What reaches users who are away, and what they have read.

    async def put_push_token(self, token: PushTokenRecord) -> None:
        """Make or replace a push token."""
        await self._writer.run(lambda db: away_table.PUSH_TOKENS.replace(db, [token]))

    async def push_tokens(self, users: Sequence[UserId]) -> list[PushTokenRecord]:
        """Return the push tokens of these users."""
        return await self._readers.run(lambda db: away_table.push_tokens(db, users))

    async def remove_push_token(self, provider: Provider, token: str) -> None:
        """Remove a push token."""
        await self._writer.run(lambda db: away_table.remove_push_token(db, provider, token))

    async def put_preference(self, preference: PreferenceRecord) -> None:
        """Replace what a user prefers."""
        await self._writer.run(lambda db: away_table.put_preference(db, preference))

    async def preferences(self, places: Collection[UserChannel]) -> list[PreferenceRecord]:
        """Return what users prefer for these channels and everywhere."""
        return await self._readers.run(lambda db: away_table.preferences(db, places))

    async def save_read_marks(self, marks: Sequence[ReadMark]) -> None:
        """Keep how far users have read."""
        copy = list(marks)
        await self._writer.run(lambda db: away_table.save_read_marks(db, copy))

    async def read_marks(self, places: Collection[UserChannel]) -> list[ReadMark]:
        """Return how far users have read these channels."""
        return await self._readers.run(lambda db: away_table.read_marks(db, places))

    async def standings(self, users: Sequence[UserId], *, limit: int) -> list[Standing]:
        """Return where the newest channels of users stand."""
        return await self._readers.run(lambda db: away_table.standings(db, users, limit))

    # Keys that message bodies are sealed with.

    async def put_data_key(self, key: DataKeyRecord) -> None:
        """Make or replace a data key."""
        await self._writer.run(lambda db: backends_table.DATA_KEYS.replace(db, [key]))

    async def data_keys(self) -> list[DataKeyRecord]:
        """Return all data keys."""
        return await self._readers.run(backends_table.data_keys)

    # Last seen, and small values.

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        """Keep when users were last there."""
        copy = dict(seen)
        await self._writer.run(lambda db: accounts_table.save_last_seen(db, copy))

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """Return when users were last there."""
        return await self._readers.run(lambda db: accounts_table.last_seen(db, users))

    async def get_meta(self, name: str) -> str | None:
        """Return a named value."""
        return await self._readers.run(lambda db: meta_table.get(db, name))

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or remove a named value."""
        await self._writer.run(lambda db: meta_table.put(db, name, value))

    # Everything, to be moved to another store: `storage.moving`.

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read a page of a table."""
        return await self._readers.run(lambda db: moving.scan(db, table, after, limit))

    async def load(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        """Write records of a table."""
        copy = list(records)
        await self._writer.run(lambda db: moving.load(db, table, copy))

    async def check(self) -> None:
        """Return when the database answers a trivial question."""
        await self._readers.run(meta_table.check)

    def statistics(self) -> StoreStatistics:
        """Return counts for /metrics."""
        return self._writer.statistics()


_: type[Store] = SqliteStore
_source: type[Source] = SqliteStore
_target: type[Target] = SqliteStore
