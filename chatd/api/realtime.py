"""What the HTTP side asks of the realtime side. The router answers it; rights and limits are checked there."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from chatd.accounts.principal import Principal
from chatd.broker import Published, Refused
from chatd.reading import ChannelPresence
from protocol.body import Body
from protocol.messages import Conversation, UserState
from storage.records import StoredMessage


class HistoryResult(msgspec.Struct, frozen=True):
    """A page of a channel in rising seq; `more` tells whether there is another page in the same direction."""

    messages: list[StoredMessage]
    more: bool


class MembershipsResult(msgspec.Struct, frozen=True):
    """Member channels of a user, the one with the newest message first; `more` tells whether there is another page."""

    channels: list[Conversation]
    more: bool


class Realtime(Protocol):
    """Does for a request what it would do for the same command of a session.

    Names of channels and users come as the client wrote them. What is refused is returned, not raised.
    """

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        """Append a message; returns when it is as durable as its namespace promises."""

    async def history(
        self, principal: Principal, channel: str, *, before: int | None, after: int | None, limit: int
    ) -> HistoryResult | Refused:
        """Read a page of a channel."""

    async def user_presence(self, principal: Principal, users: Sequence[str]) -> list[UserState] | Refused:
        """Return in what state these users are."""

    async def channel_presence(self, principal: Principal, channel: str) -> ChannelPresence | Refused:
        """Return who is in a channel."""

    async def memberships(
        self, principal: Principal, since: int, after: tuple[int, str] | None, limit: int
    ) -> MembershipsResult | Refused:
        """Return a page of the user's member channels that changed at or after `since` (Unix milliseconds).

        `after` is the time and the name of the last one of the page before.
        """

    def not_ready(self) -> Refused | None:
        """Return why this node should get no new clients now; None when it should."""
