"""What comes out of a client: the server's events, and what the client itself has to tell."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel. `kind` is empty for the application's own, `members` for a change of members.

    `own` tells that this client sent it. Such messages come in channels that echo, and after a lost connection when
    the answer to the send was lost too; a program that shows what it sends at once skips them.
    """

    channel: str
    epoch: str
    seq: int
    sender: str
    key: str
    at: int
    data: dict[str, Any]
    kind: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """A user's state is now `online`, `away` or `offline`."""

    channel: str
    user: str
    state: str
    last_seen: int | None = None


@dataclass(frozen=True, slots=True)
class HasRead:
    """A user has read a member channel up to a seq: this user elsewhere or, with receipts, another member."""

    channel: str
    user: str
    seq: int
    at: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A user came into a channel that lists its readers."""

    channel: str
    user: str


@dataclass(frozen=True, slots=True)
class Left:
    """A user left a channel that lists its readers."""

    channel: str
    user: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many users read a channel that counts them."""

    channel: str
    count: int


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A subscription ended without being asked to; nothing more comes from the channel."""

    channel: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """There is a connection again. What was missed follows; presence and counts may have changed meanwhile: ask."""

    session: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of the channel before this place are missing and will not come by themselves: read its history."""

    channel: str
    epoch: str
    seq: int


Event = Message | PresenceChanged | HasRead | Joined | Left | Count | Unsubscribed | Reconnected | Gap


def read_message(raw: Mapping[str, Any], own_keys: Mapping[str, object]) -> Message:
    """Make a message of the server's object."""
    message = Message(
        channel=raw["channel"],
        epoch=raw["epoch"],
        seq=raw["seq"],
        sender=raw["from"],
        key=raw["key"],
        at=raw["at"],
        data=raw["data"],
        kind=raw.get("kind", ""),
    )
    return replace(message, own=True) if message.key in own_keys else message


def read_event(raw: Mapping[str, Any]) -> Event | None:
    """Make an event (other than a message) of the server's object; None for one this client does not know."""
    match raw["type"]:
        case "presence_changed":
            return PresenceChanged(raw["channel"], raw["user"], raw["state"], raw.get("last_seen"))
        case "read":
            return HasRead(raw["channel"], raw["user"], raw["seq"], raw["at"])
        case "joined":
            return Joined(raw["channel"], raw["user"])
        case "left":
            return Left(raw["channel"], raw["user"])
        case "count":
            return Count(raw["channel"], raw["count"])
        case "unsubscribed":
            return Unsubscribed(raw["channel"], raw["code"], raw["reason"])
        case _:
            return None
