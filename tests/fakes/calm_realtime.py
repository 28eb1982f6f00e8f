"""A realtime side that keeps what it is given in memory, and refuses what it is told to refuse."""

from collections.abc import Sequence

from chatd.accounts.principal import Principal
from chatd.api.realtime import HistoryResult, MembershipsResult
from chatd.broker import Published, Refused
from chatd.reading import ChannelPresence
from protocol.body import Body
from protocol.messages import Conversation, UserState
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import Place, StoredMessage


class CalmRealtime:
    """Channels as lists."""

    def __init__(self) -> None:
        self.messages: dict[str, list[StoredMessage]] = {}
        self.retries: list[bool] = []
        self.refusal: Refused | None = None
        self.fault: Exception | None = None
        self.reason_not_ready: Refused | None = None

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        if self.fault is not None:
            raise self.fault
        if self.refusal is not None:
            return self.refusal
        self.retries.append(retry)
        log = self.messages.setdefault(channel, [])
        for stored in log:
            if (stored.sender, stored.key) == (principal.user, key):
                return Published(stored.place, duplicate=True)
        stored = StoredMessage(
            channel=ChannelName(channel),
            epoch=Epoch("e"),
            seq=Seq(len(log) + 1),
            sender=principal.user,
            key=key,
            at=1000 + len(log),
            body=body,
        )
        log.append(stored)
        return Published(Place(stored.epoch, stored.seq, stored.at))

    async def history(
        self, principal: Principal, channel: str, *, before: int | None, after: int | None, limit: int
    ) -> HistoryResult | Refused:
        if self.refusal is not None:
            return self.refusal
        log = self.messages.get(channel, [])
        if after is not None:
            rest = [stored for stored in log if stored.seq > after]
            return HistoryResult(rest[:limit], len(rest) > limit)
        rest = [stored for stored in log if before is None or stored.seq < before]
        return HistoryResult(rest[-limit:], len(rest) > limit)

    async def user_presence(self, principal: Principal, users: Sequence[str]) -> list[UserState] | Refused:
        if self.refusal is not None:
            return self.refusal
        return [UserState(user=UserId(user), state="online", last_seen=5) for user in users]

    async def channel_presence(self, principal: Principal, channel: str) -> ChannelPresence | Refused:
        if self.refusal is not None:
            return self.refusal
        return ChannelPresence(1, [UserState(user=principal.user, state="online")])

    async def memberships(
        self, principal: Principal, since: int, after: tuple[int, str] | None, limit: int
    ) -> MembershipsResult | Refused:
        if self.refusal is not None:
            return self.refusal
        conversation = Conversation(
            channel=ChannelName(after[1] if after else "dm:alice:bob"),
            role="member",
            epoch=Epoch("e"),
            seq=Seq(limit),
            at=after[0] if after else since,
        )
        return MembershipsResult([conversation], more=False)

    def not_ready(self) -> Refused | None:
        return self.reason_not_ready
