"""What the store keeps: plain records without behaviour, the same for every adapter."""

from enum import StrEnum

import msgspec

from protocol.body import Body
from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId


class Place(msgspec.Struct, frozen=True, gc=False):
    """A message's place in its channel, and when it got there (Unix milliseconds)."""

    epoch: Epoch
    seq: Seq
    at: int


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a channel, as it is kept. `kind` is empty for the application's own."""

    channel: ChannelName
    epoch: Epoch
    seq: Seq
    sender: UserId
    key: str
    at: int
    body: Body
    kind: str = ""

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


class UserRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One account. Guests have no password hash; times are Unix milliseconds."""

    user: UserId
    password_hash: str | None
    created_at: int
    is_guest: bool = False
    is_suspended: bool = False


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
