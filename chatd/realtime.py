"""What HTTP asks of the realtime side, answered by the same parts as the commands of sessions."""

from collections.abc import Callable, Sequence

from chatd.accounts.principal import Principal
from chatd.api.realtime import HistoryResult, MembershipsResult
from chatd.broker import RETRY_SECONDS, Published, Refused
from chatd.broker.logs import TooManyChannels
from chatd.conversations import Conversations
from chatd.reading import ChannelPresence, Reading
from chatd.rights import Denied, Directory
from chatd.router import Router
from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.messages import UserState


class NodeRealtime:
    """Implements `chatd.api.realtime.Realtime` on this node. A store that fails raises StoreError."""

    def __init__(
        self,
        router: Router,
        reading: Reading,
        conversations: Conversations,
        directory: Directory,
        not_ready: Callable[[], Refused | None],
    ) -> None:
        self._router = router
        self._reading = reading
        self._conversations = conversations
        self._directory = directory
        self.not_ready = not_ready
        """Return why this node should get no new clients now; None when it should."""

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        """Append a message; returns when it is as durable as its namespace promises."""
        return await self._router.publish(principal, channel, key, body, retry)

    async def history(
        self, principal: Principal, channel: str, *, before: int | None, after: int | None, limit: int
    ) -> HistoryResult | Refused:
        """Read a page of a channel."""
        try:
            address = self._directory.find(channel)
            messages, more = await self._reading.history(principal, address, before=before, after=after, limit=limit)
        except (Denied, TooManyChannels) as error:
            return _refused(error)
        return HistoryResult(messages, more)

    async def user_presence(self, principal: Principal, users: Sequence[str]) -> list[UserState] | Refused:
        """Return in what state these users are."""
        try:
            return await self._reading.user_presence(principal, list(users))
        except Denied as error:
            return _refused(error)

    async def channel_presence(self, principal: Principal, channel: str) -> ChannelPresence | Refused:
        """Return who is in a channel."""
        try:
            return await self._reading.channel_presence(principal, self._directory.find(channel))
        except Denied as error:
            return _refused(error)

    async def memberships(
        self, principal: Principal, since: int, after: tuple[int, str] | None, limit: int
    ) -> MembershipsResult | Refused:
        """Return a page of the user's member channels that changed at or after `since`."""
        return MembershipsResult(*await self._conversations.page(principal.user, since=since, after=after, limit=limit))


def _refused(error: Denied | TooManyChannels) -> Refused:
    if isinstance(error, Denied):
        return Refused(error.code, str(error))
    return Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)
