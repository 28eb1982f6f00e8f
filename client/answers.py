"""What the client's methods return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.events import Message


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a channel stands. With `since`: what came after it, all of it if `recovered`."""

    channel: str
    epoch: str
    seq: int
    recovered: bool
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message's place. `duplicate` tells that an earlier try had arrived."""

    channel: str
    epoch: str
    seq: int
    at: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Messages in rising seq; `more` tells whether there are further ones in the same direction."""

    channel: str
    messages: tuple[Message, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class UserState:
    """`online`, `away` or `offline`, and since when, or for `offline` when the user was last there."""

    user: str
    state: str
    last_seen: int | None


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is in a channel (`users` is None where it only counts), or the states of the users asked for."""

    channel: str | None
    count: int | None
    users: tuple[UserState, ...] | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A member channel of the user, the place of its newest message, and up to which seq the user has read it."""

    channel: str
    role: str
    epoch: str
    seq: int
    at: int
    read: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """Who this client is to the server, on its present or last connection."""

    user: str
    device: str
    session: str
    ping_seconds: float
    expires: int | None


def read_sent(raw: Mapping[str, Any]) -> Sent:
    """Make the answer to `send` of the server's object."""
    return Sent(raw["channel"], raw["epoch"], raw["seq"], raw["at"], raw.get("duplicate", False))


def read_presence(raw: Mapping[str, Any]) -> Presence:
    """Make the answer to `presence` of the server's object."""
    users = raw.get("users")
    states = None if users is None else tuple(UserState(u["user"], u["state"], u.get("last_seen")) for u in users)
    return Presence(raw.get("channel"), raw.get("count"), states)


def channels_command(since: int, limit: int, after: Conversation | None) -> dict[str, Any]:
    """Make the command whose answer is a page of the user's member channels: the one that follows `after`."""
    command = {"type": "channels", "since": since, "limit": limit}
    return command if after is None else {**command, "after": [after.at, after.channel]}


def read_conversation(raw: Mapping[str, Any]) -> Conversation:
    """Make one line of the answer to `channels`."""
    return Conversation(raw["channel"], raw["role"], raw["epoch"], raw["seq"], raw["at"], raw.get("read", 0))


def read_session(raw: Mapping[str, Any]) -> Session:
    """Make the answer to `connect` of the server's object."""
    return Session(raw["user"], raw["device"], raw["session"], raw["ping_seconds"], raw.get("expires"))
