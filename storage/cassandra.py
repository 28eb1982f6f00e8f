"""The store of a cluster: Cassandra, asked from trio by its own driver."""

import math
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog
import trio

from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import Done, StoreError, StoreStatistics, StoreUnavailable, UserChannel
from storage.cassandra_accounts import Accounts
from storage.cassandra_away import Away
from storage.cassandra_backends import Backends, Values
from storage.cassandra_background import Background
from storage.cassandra_batches import at_once
from storage.cassandra_buckets import Buckets
from storage.cassandra_members import Members
from storage.cassandra_messages import Messages
from storage.cassandra_migrations import migrate, pending, shipped
from storage.cassandra_moving import CassandraSource, Loader
from storage.cassandra_session import Session
from storage.cassandra_settings import CassandraSettings
from storage.cassandra_shared import SharedReads
from storage.cassandra_trim import Rule, Trimmer
from storage.cassandra_writer import Writer
from storage.moving import Page, Table, Target
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

RETRY_SECONDS = 1.0  # between two attempts to reach a cluster that does not answer
SAY_AGAIN_SECONDS = 30.0  # how often the log says that it still does not

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_cassandra(
    settings: CassandraSettings, *, waits: bool = True, migrates: bool = True
) -> AsyncIterator["CassandraStore"]:
    """Open the store, and bring the keyspace to this program's schema first.

    Waits for as long as no node answers, with a line in the log, unless `waits` is false. Leaving the block waits until
    everything that was queued is written and told, cancelled or not.

    Raises:
        MigrationError: The keyspace does not fit this program.
        StoreUnavailable: No node answers, and it is not waited for.
        StoreError: The keyspace has an older schema, and `migrates` is false; or the cluster refuses, for example the
            password.
    """
    session = await (_wait_for(settings, migrates) if waits else _reach(settings, migrates))
    background = Background()
    try:
        store = CassandraStore(session, background)
        await store.prepare()
        try:
            yield store
        finally:
            with trio.CancelScope(shield=True):
                await store.finish()
                await background.aclose()
    finally:
        with trio.CancelScope(shield=True):
            await session.aclose()


async def _wait_for(settings: CassandraSettings, migrates: bool) -> Session:
    """Connect and migrate, trying until the cluster answers."""
    said_at = -math.inf
    while True:
        try:
            return await _reach(settings, migrates)
        except StoreUnavailable as error:
            if trio.current_time() - said_at >= SAY_AGAIN_SECONDS:
                said_at = trio.current_time()
                nodes = ", ".join(settings.contact_points)
                _log.warning("waiting for Cassandra", nodes=nodes, port=settings.port, error=str(error))
            await trio.sleep(RETRY_SECONDS)


async def _reach(settings: CassandraSettings, migrates: bool) -> Session:
    """Connect, and bring the keyspace to the schema, or see that it has it."""
    session = await Session.open(settings, makes_keyspace=migrates)
    try:
        if migrates:
            for migration in await trio.to_thread.run_sync(migrate, session.driver, shipped(), _now):
                _log.info("migration applied", number=migration.number, name=migration.name)
        elif await trio.to_thread.run_sync(pending, session.driver, shipped()):
            raise StoreError("the keyspace has an older schema: run `chatd db migrate` first")
    except BaseException:
        with trio.CancelScope(shield=True):
            await session.aclose()
        raise
    return session


def _now() -> int:
    return int(time.time() * 1000)


class CassandraStore:
    """Implements `storage.Store` and `storage.moving.Target`, which say its promises; `open_cassandra` makes it."""

    def __init__(self, session: Session, background: Background) -> None:
        self.session = session
        self._background = background
        buckets = Buckets(session, session.settings.rules)
        self._trimmer = Trimmer(session, buckets)
        self._writer = Writer(session, buckets, self._trimmer.wrote)
        self._messages = Messages(session, buckets)
        self._pages: SharedReads[list[StoredMessage]] = SharedReads(background)
        self._heads: SharedReads[Place | None] = SharedReads(background)
        self._members = Members(session, self._messages, background)
        self._accounts = Accounts(session)
        self._away = Away(session)
        self._backends = Backends(session)
        self._values = Values(session)
        self._source = CassandraSource(session)
        self._loader = Loader(self, session, self._accounts, self._members)
        self._meta_turn = trio.Lock()  # a later small value is written behind an earlier one

    async def prepare(self) -> None:
        """Prepare what the way of a message needs, and begin to work."""
        await self._writer.prepare()
        await self._messages.prepare()
        self._background.start_endless(self._writer.run)

    async def finish(self) -> None:
        """Write what is queued. Do not cancel it."""
        await self._writer.aclose()

    # Messages.

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Queue messages to be written."""
        self._writer.submit(messages, done)

    async def head(self, channel: ChannelName) -> Place | None:
        """Return the place of the channel's newest message, when nothing of it is under way any more."""
        await self._writer.settle(channel)
        return await self._heads.get(channel, partial(self._messages.head, channel))

    async def history(
        self, channel: ChannelName, *, before: Seq | None = None, after: Seq | None = None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel; with both `after` and `before`, what lies between."""
        if self._writer.is_unsettled(channel):
            await self._writer.settle(channel)
        if after is None:
            read = partial(self._messages.before, channel, before, limit)
        else:
            read = partial(self._messages.after, channel, after, before, limit)
        return list(await self._pages.get((channel, before, after, limit), read))

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Return the newest message of this sender with this key."""
        for channel in self._writer.unsettled_of(sender, key):
            await self._writer.settle(channel)
        return await self._messages.find(sender, key, since)

    async def trim(self, namespace: str, *, older_than: int | None, keep: int | None, limit: int) -> int:
        """Remove messages that the namespace does not keep, from channels that this process has written to."""
        return await self._trimmer.trim(namespace, Rule(older_than, keep), limit)

    async def revise(self, message: StoredMessage) -> None:
        """Replace body, kind and `revised_at` of a kept message."""
        await self._background.complete(partial(self._messages.revise, message))

    # Members. What is written is copied: it is read later, in the background.

    async def members(self, channel: ChannelName) -> dict[UserId, Role]:
        """Return who belongs to the channel."""
        return await self._members.members(channel)

    async def create_channel(self, channel: ChannelName, members: Mapping[UserId, Role], at: int) -> None:
        """Make a channel with its first members."""
        await self._background.complete(partial(self._members.create, channel, dict(members), at))

    async def change_members(
        self, channel: ChannelName, *, put: Mapping[UserId, Role], remove: Iterable[UserId], at: int
    ) -> None:
        """Add members or change their roles, and remove others."""
        await self._background.complete(partial(self._members.change, channel, dict(put), list(remove), at))

    async def memberships(
        self, user: UserId, *, since: int, after: tuple[int, ChannelName] | None = None, limit: int
    ) -> list[Membership]:
        """Return the user's channels, newest first."""
        return await self._members.memberships(user, since, after, limit)

    # Accounts and devices.

    async def add_user(self, user: UserRecord) -> None:
        """Make an account."""
        await self._background.complete(partial(self._accounts.add_user, user))

    async def user(self, user: UserId) -> UserRecord | None:
        """Return the account of this id."""
        return await self._accounts.user(user)

    async def put_user(self, user: UserRecord) -> None:
        """Replace an existing account's record."""
        await self._background.complete(partial(self._accounts.put_user, user))

    async def users(self, *, after: UserId | None = None, limit: int) -> list[UserRecord]:
        """Return the next accounts, in the order of the partitions."""
        return await self._accounts.users(after, limit)

    async def erase_user(self, user: UserId) -> None:
        """Remove the account and what belongs to it: the account last, so that it can be repeated after a failure."""
        await self._background.complete(partial(self._erase_user, user))

    async def _erase_user(self, user: UserId) -> None:
        account = await self._accounts.user(user)
        name = user if account is None else account.user
        await self._accounts.erase_devices(name)
        for channel, _, _ in await self._members.channels(name):
            await self._members.change(channel, {}, [name], 0)
        await self._away.erase(name)
        await self._values.forget_last_seen(name)
        await self._accounts.erase_account(name)

    async def put_device(self, device: DeviceRecord) -> None:
        """Make or replace a device's record."""
        await self._background.complete(partial(self._accounts.put_device, device))

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        """Return a device's record."""
        return await self._accounts.device(device)

    async def devices(self, user: UserId) -> list[DeviceRecord]:
        """Return the user's devices that are not revoked."""
        return await self._accounts.devices(user)

    async def rotate_device(self, device: DeviceRecord, expected_generation: int) -> bool:
        """Replace the record if it still has this generation."""
        rotate = partial(self._accounts.rotate_device, device, expected_generation)
        return await self._background.complete(rotate)

    async def revoke_device(self, device: DeviceId, at: int) -> bool:
        """Mark a device revoked."""
        return await self._background.complete(partial(self._accounts.revoke_device, device, at))

    async def revoked_since(self, at: int) -> list[DeviceId]:
        """Return the devices revoked since then."""
        return await self._accounts.revoked_since(at)

    # What backends and operators may do, and did.

    async def put_api_key(self, key: ApiKeyRecord) -> None:
        """Make or replace an API key."""
        await self._background.complete(partial(self._backends.put_api_key, key))

    async def api_key(self, key_id: str) -> ApiKeyRecord | None:
        """Return an API key."""
        return await self._backends.api_key(key_id)

    async def api_keys(self) -> list[ApiKeyRecord]:
        """Return all API keys."""
        return await self._backends.api_keys()

    async def add_audit(self, records: Sequence[AuditRecord]) -> None:
        """Keep what was done."""
        await self._background.complete(partial(self._backends.add_audit, list(records)))

    async def audit(self, *, before: int | None = None, limit: int) -> list[AuditRecord]:
        """Return audit records, the newest first."""
        return await self._backends.audit(before, limit)

    # What reaches users who are away, and what they have read.

    async def put_push_token(self, token: PushTokenRecord) -> None:
        """Make or replace a push token."""
        await self._background.complete(partial(self._away.put_push_token, token))

    async def push_tokens(self, users: Sequence[UserId]) -> list[PushTokenRecord]:
        """Return all push tokens of these users."""
        return await self._away.push_tokens(users)

    async def remove_push_token(self, provider: Provider, token: str) -> None:
        """Remove a push token."""
        await self._background.complete(partial(self._away.remove_push_token, provider, token))

    async def put_preference(self, preference: PreferenceRecord) -> None:
        """Replace what a user prefers."""
        await self._background.complete(partial(self._away.put_preference, preference))

    async def preferences(self, places: Collection[UserChannel]) -> list[PreferenceRecord]:
        """Return what users prefer for these channels and everywhere."""
        return await self._away.preferences(places)

    async def save_read_marks(self, marks: Sequence[ReadMark]) -> None:
        """Keep how far users have read."""
        await self._background.complete(partial(self._away.save_read_marks, list(marks)))

    async def read_marks(self, places: Collection[UserChannel]) -> list[ReadMark]:
        """Return how far users have read these channels."""
        return await self._away.read_marks(places)

    async def standings(self, users: Sequence[UserId], *, limit: int) -> list[Standing]:
        """Return where the newest channels of users stand."""
        found = await at_once([partial(self._members.memberships, user, 0, None, limit) for user in users])
        heads = {
            (user, one.channel): one.last.seq
            for user, channels in zip(users, found, strict=True)
            for one in channels
            if one.last is not None
        }
        marks = {(mark.user, mark.channel): mark.seq for mark in await self._away.read_marks(heads)}
        return [
            Standing(user=user, channel=channel, last=last, read=marks.get((user, channel), Seq(0)))
            for (user, channel), last in heads.items()
        ]

    # Keys that message bodies are sealed with.

    async def put_data_key(self, key: DataKeyRecord) -> None:
        """Make or replace a data key."""
        await self._background.complete(partial(self._backends.put_data_key, key))

    async def data_keys(self) -> list[DataKeyRecord]:
        """Return all data keys."""
        return await self._backends.data_keys()

    # Moving everything.

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read a page of a table."""
        return await self._source.scan(table, after=after, limit=limit)

    async def load(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        """Write records of a table as they are."""
        await self._background.complete(partial(self._loader.load, table, records))

    # Last seen, and small values.

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        """Keep when users were last there."""
        await self._background.complete(partial(self._values.save_last_seen, dict(seen)))

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """Return when users were last there."""
        return await self._values.last_seen(users)

    async def get_meta(self, name: str) -> str | None:
        """Return a named value."""
        return await self._values.get_meta(name)

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or remove a named value."""
        await self._background.complete(partial(self._put_meta, name, value))

    async def _put_meta(self, name: str, value: str | None) -> None:
        async with self._meta_turn:
            await self._values.put_meta(name, value)

    async def check(self) -> None:
        """Return when the cluster answers a question at its consistency."""
        await self._values.get_meta("check")

    def statistics(self) -> StoreStatistics:
        """Return counts for /metrics."""
        return self._writer.statistics()


_: type[Target] = CassandraStore
