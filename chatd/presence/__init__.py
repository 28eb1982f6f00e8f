"""Who is there. Two trackers do the same for the rest of the node.

Trackers: `chatd.presence.tracker` for one node alone, `chatd.cluster.presence` for many that share a Redis.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from chatd.config import Namespace, Presence
from protocol.messages import UserState
from protocol.names import ChannelName, UserId

Status = Literal["online", "away"]
"""What a session says of the person at it."""


class Readers(msgspec.Struct, frozen=True, gc=False):
    """How many users read a channel; and who, unless it only counts or has too many for a list."""

    count: int
    users: list[UserId] | None


class Tracker(Protocol):
    """Keeps presence, and tells the readers of `presence:USER` and of channels what changed.

    Promises: coming back within the grace time changes nothing that is shown; each departure is told once. What
    `states` and `readers` answered, with every event since laid over it, is what they would answer now. Plain methods
    return at once.
    """

    on_departed: list[Callable[[UserState], None]]
    """Called with each departure: once, on one of the nodes that share presence. Must return at once."""

    def session_opened(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user was connected."""

    def session_closed(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user ended."""

    def status(self, user: UserId, session_id: str, status: Status) -> None:
        """Note whether the person at this session is there."""

    def channel_entered(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user subscribed to the channel."""

    def channel_left(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user is subscribed to the channel no more."""

    async def states(self, users: Sequence[UserId]) -> list[UserState]:
        """Return the state of each of these users."""

    async def readers(self, channel: ChannelName) -> Readers:
        """Return who reads the channel."""

    def reload(self, config: Presence, namespaces: Mapping[str, Namespace]) -> None:
        """Go on with another configuration."""

    async def run(self) -> None:
        """Keep it up, until cancelled."""
