"""What one node may ask another to do with its sessions, and the doing of it."""

from heapq import nsmallest
from typing import Protocol

import msgspec

from chatd.hub import Hub
from chatd.session import Session
from protocol.codes import ErrorCode
from protocol.messages import SessionState, Unsubscribed
from protocol.names import ChannelName, DeviceId, UserId


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """Close a session, or all of a user, with this code."""

    user: str = ""
    session: str = ""
    code: int
    reason: str


class Join(msgspec.Struct, frozen=True, kw_only=True, tag="join"):
    """Subscribe every session of a user to a channel."""

    user: UserId
    channel: ChannelName


class Kick(msgspec.Struct, frozen=True, kw_only=True, tag="kick"):
    """End the subscriptions of a user to a channel, and say why."""

    user: UserId
    channel: ChannelName
    reason: str


class Find(msgspec.Struct, frozen=True, kw_only=True, tag="find"):
    """Name sessions, of one user or (empty) of all, whose ids come after `after`."""

    user: str = ""
    after: str = ""
    limit: int


class FindChannels(msgspec.Struct, frozen=True, kw_only=True, tag="find_channels"):
    """Name channels that sessions are subscribed to: this one, or those of these namespaces (of all) after `after`."""

    channel: str = ""
    namespaces: list[str] | None = None
    after: str = ""
    limit: int = 1


class Revoke(msgspec.Struct, frozen=True, kw_only=True, tag="revoke"):
    """Let a device in no more, and close its sessions. Not answered."""

    device: DeviceId


Order = End | Join | Kick | Find | FindChannels | Revoke


class OpenChannel(msgspec.Struct, frozen=True):
    """A channel that sessions are subscribed to."""

    channel: ChannelName
    sessions: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did: of how many sessions, and which sessions or channels were found."""

    count: int = 0
    sessions: list[SessionState] = []
    channels: list[OpenChannel] = []


class Others(Protocol):
    """The other nodes of a cluster."""

    async def everywhere_else(self, order: Order) -> list[Answer]:
        """Let every other node do it; return what those answered who did in time."""


def end(hub: Hub, order: End) -> int:
    """Close sessions of this node; return how many."""
    sessions = of_user(hub, order.user) if order.user else _one(hub, order.session)
    for session in sessions:
        session.close(order.code, order.reason)
    return len(sessions)


def kick(hub: Hub, order: Kick) -> int:
    """End subscriptions on this node; return how many."""
    gone = [session for session in of_user(hub, order.user) if hub.unsubscribe(session, order.channel)]
    for session in gone:
        session.reply(Unsubscribed(channel=order.channel, code=ErrorCode.FORBIDDEN, reason=order.reason))
    return len(gone)


def find(hub: Hub, order: Find) -> list[SessionState]:
    """Name sessions of this node, by their ids."""
    sessions = of_user(hub, order.user) if order.user else list(hub.sessions.values())
    wanted = (session for session in sessions if session.user is not None and session.id > order.after)
    return [_state(session) for session in sorted(wanted, key=lambda session: session.id)[: order.limit]]


def find_channels(hub: Hub, order: FindChannels) -> list[OpenChannel]:
    """Name subscribed channels of this node, by their names."""
    spaces = order.namespaces

    def is_wanted(name: str) -> bool:
        return name > order.after and (spaces is None or name.partition(":")[0] in spaces)

    if order.channel:
        names = [name for name in (ChannelName(order.channel),) if name in hub.channels]
    else:
        names = nsmallest(order.limit, filter(is_wanted, hub.channels))
    return [OpenChannel(name, hub.channels[name].size) for name in names]


def of_user(hub: Hub, user: str) -> list[Session]:
    """Return the sessions of a user on this node."""
    known = hub.users.get(UserId(user))
    return list(known.sessions) if known is not None else []


def _one(hub: Hub, session_id: str) -> list[Session]:
    session = hub.sessions.get(session_id)
    return [session] if session is not None and session.user is not None else []


def _state(session: Session) -> SessionState:
    principal = session.principal
    return SessionState(
        session=session.id,
        user=session.user.name if session.user is not None else UserId(""),
        device=principal.device if principal is not None else DeviceId(""),
        address=session.link.address,
    )
