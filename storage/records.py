"""What the store keeps: plain records without behaviour, the same for every adapter."""

from enum import StrEnum
from typing import Literal

import msgspec

from protocol.body import Body
from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId


class Place(msgspec.Struct, frozen=True, gc=False):
    """A message's place in its channel, and when it got there (Unix milliseconds)."""

    epoch: Epoch
    seq: Seq
    at: int


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a channel, as it is kept. `kind` is empty for the application's own.

    `revised_at` is when it was edited or deleted last (Unix milliseconds); None while it is as it was sent.
    """

    channel: ChannelName
    epoch: Epoch
    seq: Seq
    sender: UserId
    key: str
    at: int
    body: Body
    kind: str = ""
    revised_at: int | None = None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.epoch, self.seq, self.at)


class Role(StrEnum):
    """What a member may do in a channel; each may do all that the later ones may."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Membership(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One channel of a user, with its last place (None while nobody has written)."""

    channel: ChannelName
    role: Role
    joined_at: int
    last: Place | None

    @property
    def at(self) -> int:
        """When the newest message came, or when the user joined if that was later (Unix milliseconds)."""
        return self.joined_at if self.last is None else max(self.last.at, self.joined_at)


class MemberRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One user's belonging to one channel."""

    channel: ChannelName
    user: UserId
    role: Role
    joined_at: int


class LastSeen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """When a user was last there."""

    user: UserId
    at: int


class UserRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One account. Guests have no password hash; times are Unix milliseconds.

    `roles` are what the person may do beyond their own affairs; what each role allows is not the store's to know.
    """

    user: UserId
    password_hash: str | None
    created_at: int
    is_guest: bool = False
    is_suspended: bool = False
    roles: tuple[str, ...] = ()


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One installation of a client, and the refresh token that it may use next.

    `generation` counts rotations: a token of an older generation that comes again was stolen, or its thief came first.
    """

    device: DeviceId
    user: UserId
    title: str
    created_at: int
    seen_at: int
    generation: int
    token_hash: bytes
    expires_at: int
    revoked_at: int | None = None


class ApiKeyRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One key of a backend: the hash of its secret, what it may do, and in which namespaces ("*" is any)."""

    key_id: str
    title: str
    secret_hash: bytes
    actions: tuple[str, ...]
    namespaces: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None


Provider = Literal["fcm", "apns", "webpush", "webhook"]
"""Who takes a push to a device."""


class PushTokenRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a push for one device goes. `details` is what a provider wants besides: Web Push has keys."""

    user: UserId
    device: DeviceId
    provider: Provider
    token: str
    details: dict[str, str]
    locale: str
    created_at: int


class PreferenceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a user wants to be told of one channel, or (channel "") of all of them."""

    user: UserId
    channel: ChannelName
    values: dict[str, str]


class ReadMark(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Up to which seq a user has read a channel, and when that was."""

    user: UserId
    channel: ChannelName
    seq: Seq
    at: int


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a channel of a user has come, and up to which seq the user has read it (0: never)."""

    user: UserId
    channel: ChannelName
    last: Seq
    read: Seq


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who did what to what. `audit_id` is made by `audit_id()` and is the order of the records."""

    audit_id: int
    at: int
    actor: str
    action: str
    target: str
    details: dict[str, str]


_AUDIT_CHANCE_BITS = 20


def audit_id(at: int, chance: int) -> int:
    """Make the id of an audit record: its time first, so that ids of all nodes sort by it, then 20 random bits.

    Fits a signed 64-bit integer until the year 2248.
    """
    return at << _AUDIT_CHANCE_BITS | chance & (1 << _AUDIT_CHANCE_BITS) - 1


class DataKeyRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A key that message bodies are sealed with, itself sealed (wrapped) with the master key of this id."""

    data_key: str
    master: str
    wrapped: bytes
    created_at: int
