"""What chatd asks of a store: history, members, accounts, devices, and what belongs to them.

Adapters: `storage.sqlite` for one node. Every adapter passes tests/contracts/store.py.

Errors:

    StoreError
    ├── StoreBusy          the queue is full: nothing was taken, try again
    ├── StoreUnavailable   the database cannot be reached or cannot write; what was given may or may not be kept
    └── AlreadyExists      the name is in use
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from protocol.names import ChannelName, DeviceId, Seq, UserId
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

COPIED_AT = "copied_at"
"""The `meta` value that a backup carries: when it was made, in Unix milliseconds."""

UserChannel = tuple[UserId, ChannelName]
"""A user in a channel: what the user wishes there, how far the user has read it."""

Done = Callable[[Exception | None], None]


class StoreError(Exception):
    """The root of what a store raises."""


class StoreBusy(StoreError):
    """The write queue is full; nothing of this call was taken."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or cannot write; whether the rows are kept is not known."""


class AlreadyExists(StoreError):
    """An account or channel of this name exists."""


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Counts since the start, and what waits now."""

    rows_written: int
    batches_written: int
    rows_waiting: int
    failures: int


class Store(Protocol):
    """Keeps what must survive.

    Promises: what `submit` reported done without an error, and what any awaited write returned from, survives
    `kill -9` and the loss of power. Rows of one channel are reported done in the order of their submission; when one
    fails, every later one that was already submitted fails too, so that a channel gets no hole. Writing the same
    message again (same channel, epoch and seq) changes nothing. Methods that wait may be cancelled: a write that was
    begun is finished all the same. All methods are called on the trio thread.
    """

    # Messages.

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Queue messages to be written; never waits. `done` is called on the trio thread, with None or the error.

        Raises:
            StoreBusy: The queue is full; nothing was taken and `done` will not be called.
        """

    async def head(self, channel: ChannelName) -> Place | None:
        """Return the place of the channel's newest message, or None when it has none."""

    async def history(
        self, channel: ChannelName, *, before: Seq | None = None, after: Seq | None = None, limit: int
    ) -> list[StoredMessage]:
        """Read up to `limit` messages in rising seq: those next after `after`, else the last ones before `before`.

        With both, those next after `after` that come before `before`.
        """

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Return the message that this sender wrote with this key after `since` (Unix milliseconds)."""

    async def trim(self, namespace: str, *, older_than: int | None, keep: int | None, limit: int) -> int:
        """Remove up to `limit` messages of a namespace that are too old, or beyond the newest `keep` of their channel.

        Returns how many were removed; a caller repeats until it is 0. The newest message of a channel always stays,
        so that its seq is not given to another in the same epoch.
        """

    async def revise(self, message: StoredMessage) -> None:
        """Replace body, kind and `revised_at` of a kept message; its place, sender, key and time stay.

        An edit has a new body; a deletion has an empty one and the kind "deleted". Nothing is changed where no message
        of this channel, epoch and seq is kept, or where a later revision of it is. `revised_at` must be given.
        """

    # Members.

    async def members(self, channel: ChannelName) -> dict[UserId, Role]:
        """Return who belongs to the channel; empty when it does not exist."""

    async def create_channel(self, channel: ChannelName, members: Mapping[UserId, Role], at: int) -> None:
        """Make a channel with its first members, at once or not at all.

        Raises:
            AlreadyExists: The channel has members already.
        """

    async def change_members(
        self, channel: ChannelName, *, put: Mapping[UserId, Role], remove: Iterable[UserId], at: int
    ) -> None:
        """Add members or change their roles, and remove others, in one step."""

    async def memberships(
        self, user: UserId, *, since: int, after: tuple[int, ChannelName] | None = None, limit: int
    ) -> list[Membership]:
        """Return channels whose newest message (or joining, if later) is not before `since`; newest first.

        Of those with the same time (`Membership.at`), the first by name comes first. `after` is the time and the name
        of the last one that is known: only what follows it in this order is returned.
        """

    # Accounts and devices.

    async def add_user(self, user: UserRecord) -> None:
        """Make an account.

        Raises:
            AlreadyExists: The name is in use (names that differ in case only are the same name).
        """

    async def user(self, user: UserId) -> UserRecord | None:
        """Return the account of this id, whatever the case of its letters."""

    async def put_user(self, user: UserRecord) -> None:
        """Replace an existing account's record; where there is none, nothing is changed."""

    async def put_device(self, device: DeviceRecord) -> None:
        """Make or replace a device's record."""

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        """Return a device's record, revoked or not."""

    async def devices(self, user: UserId) -> list[DeviceRecord]:
        """Return the user's devices that are not revoked, the latest seen first."""

    async def rotate_device(self, device: DeviceRecord, expected_generation: int) -> bool:
        """Replace the record only if it is not revoked and still has the expected generation; tell whether it was."""

    async def revoke_device(self, device: DeviceId, at: int) -> bool:
        """Mark a device revoked; False if it does not exist or is revoked already."""

    async def revoked_since(self, at: int) -> list[DeviceId]:
        """Return the devices revoked at or after a time: their access tokens may not have expired yet."""

    async def users(self, *, after: UserId | None = None, limit: int) -> list[UserRecord]:
        """Return up to `limit` accounts that follow the account `after`, in an order of the store's own.

        The order stays, so that the last one's id gets the next page, also when that account was erased since; an
        empty page is the end.
        """

    async def erase_user(self, user: UserId) -> None:
        """Remove the account and what belongs to it, whatever the case of its letters, in one step.

        That is devices, memberships, last seen, push tokens, preferences and read marks. Messages and audit records
        stay. Nothing happens if there is none of it.
        """

    # What backends and operators may do, and did.

    async def put_api_key(self, key: ApiKeyRecord) -> None:
        """Make or replace an API key."""

    async def api_key(self, key_id: str) -> ApiKeyRecord | None:
        """Return an API key, revoked and expired ones too."""

    async def api_keys(self) -> list[ApiKeyRecord]:
        """Return all API keys, the oldest first."""

    async def add_audit(self, records: Sequence[AuditRecord]) -> None:
        """Keep what was done; a record that is kept already changes nothing."""

    async def audit(self, *, before: int | None = None, limit: int) -> list[AuditRecord]:
        """Return up to `limit` records, the newest first; with `before`, those whose id is smaller."""

    # What reaches users who are away, and what they have read.

    async def put_push_token(self, token: PushTokenRecord) -> None:
        """Make or replace a push token; one token of one provider belongs to one user and device, the last given."""

    async def push_tokens(self, users: Sequence[UserId]) -> list[PushTokenRecord]:
        """Return all push tokens of these users, in no order."""

    async def remove_push_token(self, provider: Provider, token: str) -> None:
        """Remove a push token, if there is such a one."""

    async def put_preference(self, preference: PreferenceRecord) -> None:
        """Replace what a user prefers for a channel or everywhere; without values, remove it."""

    async def preferences(self, places: Collection[UserChannel]) -> list[PreferenceRecord]:
        """Return what users prefer for these channels and what they prefer everywhere (channel ""), in no order."""

    async def save_read_marks(self, marks: Sequence[ReadMark]) -> None:
        """Keep how far users have read; a smaller seq than the kept one is ignored."""

    async def read_marks(self, places: Collection[UserChannel]) -> list[ReadMark]:
        """Return how far users have read these channels, in no order; those without a mark are left out."""

    async def standings(self, users: Sequence[UserId], *, limit: int) -> list[Standing]:
        """Return for each user where the channels stand that come first in `memberships`, in no order.

        Channels without a message are left out.
        """

    # Keys that message bodies are sealed with.

    async def put_data_key(self, key: DataKeyRecord) -> None:
        """Make or replace a data key."""

    async def data_keys(self) -> list[DataKeyRecord]:
        """Return all data keys, the oldest first."""

    # Last seen, and small values.

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        """Keep when users were last there (Unix milliseconds); a smaller value than the kept one is ignored."""

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """Return when users were last there; those never seen are left out."""

    async def get_meta(self, name: str) -> str | None:
        """Return a small named value of the node's own."""

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or (None) remove a small named value of the node's own."""

    async def check(self) -> None:
        """Return when the database answers a trivial question.

        Raises:
            StoreUnavailable: It does not.
        """

    def statistics(self) -> StoreStatistics:
        """Return counts for /metrics."""


async def append(store: Store, messages: Sequence[StoredMessage]) -> None:
    """Write messages and return when they are kept.

    Raises:
        StoreError: They were not taken, or it is not known whether they are kept.
    """
    finished = trio.Event()
    failure: list[Exception] = []

    def done(error: Exception | None) -> None:
        if error is not None:
            failure.append(error)
        finished.set()

    store.submit(messages, done)
    await finished.wait()
    if failure:
        raise failure[0]
