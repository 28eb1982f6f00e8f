"""A store whose message bodies are sealed, over any other store. Who uses it sees plain bodies only.

Everything but messages goes through as it is. What was written before sealing was turned on is read as it is, too.
"""

from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Seq, UserId
from storage import Done, StoreError
from storage.moving import Origin, Page, Table, Target
from storage.records import DataKeyRecord, StoredMessage
from storage.sealing import BodyDamaged, BodyUnreadable, KeyRing, is_sealed

_log = structlog.get_logger("store")

UNREADABLE = "unreadable"
"""The kind of a message whose sealed body does not open; its body is empty."""

_DATA_KEYS = 1000  # read at once
_NOTHING = {Encoding.JSON: b"{}", Encoding.MSGPACK: b"\x80"}


async def seal(store: Target, ring: KeyRing, now: Callable[[], int]) -> "SealedStore":
    """Put a store behind a ring of keys; make its first data key if bodies are to be sealed and there is none.

    Raises:
        KeyMissing: A data key of the store cannot be unwrapped.
        StoreError: The store fails.
    """
    ring.load(await store.data_keys())
    if ring.wants_key:
        await store.put_data_key(ring.make(now()))
        ring.load(await store.data_keys())
    return SealedStore(store, ring)


async def opened_source(source: Origin, ring: KeyRing) -> "OpenedSource":
    """Put a source behind a ring of keys.

    Raises:
        KeyMissing: A data key of the store cannot be unwrapped.
    """
    after, is_first = None, True
    while after is not None or is_first:
        page = await source.scan(Table.DATA_KEYS, after=after, limit=_DATA_KEYS)
        ring.load([record for record in page.records if isinstance(record, DataKeyRecord)])
        after, is_first = page.next, False
    return OpenedSource(source, ring)


class SealedStore:
    """Implements `storage.Store`, and `storage.moving.Target`; `seal` makes it.

    A body whose data key is not known makes a read fail as unavailable, after the data keys were read again: it can be
    read when its key is back. A body that does not open was changed, and will never open: its message has the kind
    `unreadable` and an empty body, so that the rest of the channel can be read.
    """

    def __init__(self, store: Target, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        # Called as they are, without a step between.
        self.head, self.trim = store.head, store.trim
        self.members, self.memberships = store.members, store.memberships
        self.create_channel, self.change_members = store.create_channel, store.change_members
        self.add_user, self.user, self.put_user = store.add_user, store.user, store.put_user
        self.users, self.erase_user = store.users, store.erase_user
        self.put_device, self.device, self.devices = store.put_device, store.device, store.devices
        self.rotate_device, self.revoke_device = store.rotate_device, store.revoke_device
        self.revoked_since = store.revoked_since
        self.put_api_key, self.api_key, self.api_keys = store.put_api_key, store.api_key, store.api_keys
        self.add_audit, self.audit = store.add_audit, store.audit
        self.put_push_token, self.push_tokens = store.put_push_token, store.push_tokens
        self.remove_push_token = store.remove_push_token
        self.put_preference, self.preferences = store.put_preference, store.preferences
        self.save_read_marks, self.read_marks = store.save_read_marks, store.read_marks
        self.standings = store.standings
        self.put_data_key, self.data_keys = store.put_data_key, store.data_keys
        self.save_last_seen, self.last_seen = store.save_last_seen, store.last_seen
        self.get_meta, self.put_meta = store.get_meta, store.put_meta
        self.check, self.statistics = store.check, store.statistics
        self.scan = store.scan

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Queue messages to be written, sealed."""
        self._store.submit(self._seal(messages), done)

    async def revise(self, message: StoredMessage) -> None:
        """Replace the body of a kept message, sealed."""
        [sealed] = self._seal([message])
        await self._store.revise(sealed)

    async def history(
        self, channel: ChannelName, *, before: Seq | None = None, after: Seq | None = None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel, opened."""
        return await self._open(await self._store.history(channel, before=before, after=after, limit=limit))

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Return the message of this sender with this key, opened."""
        found = await self._store.find(sender, key, since)
        return found and (await self._open([found]))[0]

    async def load(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        """Write records of a table; messages that are plain are sealed, those that are sealed already stay so."""
        if table is Table.MESSAGES and self._ring.sealer is not None:
            messages = [record for record in records if isinstance(record, StoredMessage)]
            records = [message if is_sealed(message.body) else self._seal([message])[0] for message in messages]
        await self._store.load(table, records)

    async def refresh(self) -> None:
        """Take over data keys that were made since: another node, or `chatd db keys`, may have made one.

        Raises:
            KeyMissing: One of them cannot be unwrapped.
            StoreError: The store fails.
        """
        self._ring.load(await self._store.data_keys())

    async def run(self, seconds: float) -> None:
        """Refresh again and again."""
        while True:
            await trio.sleep(seconds)
            try:
                await self.refresh()
            except StoreError as error:
                _log.error("data keys cannot be read", error=str(error))

    def _seal(self, messages: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
        sealer = self._ring.sealer
        if sealer is None:
            return messages
        return [sealer.seal(message) for message in messages]

    async def _open(self, messages: list[StoredMessage]) -> list[StoredMessage]:
        if not any(is_sealed(message.body) for message in messages):
            return messages
        try:
            return [open_or_replace(self._ring, message) for message in messages]
        except BodyUnreadable:
            await self.refresh()
            return [open_or_replace(self._ring, message) for message in messages]


class OpenedSource:
    """Reads everything with message bodies opened, and leaves out the data keys, which then are good for nothing."""

    def __init__(self, source: Origin, ring: KeyRing) -> None:
        self._source = source
        self.get_meta = source.get_meta
        self._ring = ring

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read a page of a table.

        Raises:
            BodyUnreadable: The data key of a body is not known.
            BodyDamaged: A body does not open.
        """
        if table is Table.DATA_KEYS:
            return Page([], None)
        page = await self._source.scan(table, after=after, limit=limit)
        if table is not Table.MESSAGES:
            return page
        messages = [record for record in page.records if isinstance(record, StoredMessage)]
        return Page([self._ring.open(message) for message in messages], page.next)


def open_or_replace(ring: KeyRing, message: StoredMessage) -> StoredMessage:
    """Open a message; one that was changed is replaced by one that says so.

    Raises:
        BodyUnreadable: Its data key is not known.
    """
    try:
        return ring.open(message)
    except BodyDamaged:
        _log.error("a sealed body does not open", channel=message.channel, epoch=message.epoch, seq=message.seq)
        encoding = message.body.encoding
        return msgspec.structs.replace(message, body=Body(encoding, _NOTHING[encoding]), kind=UNREADABLE)


_target: type[Target] = SealedStore
_origin: type[Origin] = OpenedSource
