"""What chatd asks of a broker: number, keep and send out the messages of channels.

Adapters: `chatd.broker.memory` for one node, `chatd.broker.redis` for many. Every adapter passes
tests/contracts/broker.py.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import Place, StoredMessage

RETRY_SECONDS = 1.0
"""Asked of a client whose command the store or the broker could not take: failures and full queues are short."""


EXPIRED_KIND = "expired"
"""The kind of a message whose time to live is over: its place is there, what it said is not."""


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message that has no place yet.

    `origin` names the session that must not get its own message back. `audience` are the users who get the message of
    a member channel: its members at the moment of writing, and those who were just taken out of it.
    """

    channel: ChannelName
    sender: UserId
    key: str
    body: Body
    kind: str = ""
    retry: bool = False
    origin: str = ""
    audience: Collection[UserId] = ()

    def placed(self, epoch: Epoch, seq: Seq, at: int) -> StoredMessage:
        """Return the message that it is at this place."""
        return StoredMessage(
            channel=self.channel,
            epoch=epoch,
            seq=seq,
            sender=self.sender,
            key=self.key,
            at=at,
            body=self.body,
            kind=self.kind,
        )


class Published(msgspec.Struct, frozen=True, gc=False):
    """Where a draft was placed; `duplicate` when an earlier publish of the same (sender, key) placed it."""

    place: Place
    duplicate: bool = False


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a draft was not placed."""

    code: ErrorCode
    reason: str
    retry_after: float | None = None


class Recovery(msgspec.Struct, frozen=True):
    """What came after a cursor, up to `seq`. If not `recovered`, something is missing and `messages` is empty."""

    epoch: Epoch
    seq: Seq
    recovered: bool
    messages: list[StoredMessage]


class Routed(Protocol):
    """Says which of this node's sessions get a message. A draft says it, and so does a `Route`."""

    @property
    def origin(self) -> str:
        """The session that must not get it; empty: none."""

    @property
    def audience(self) -> Collection[UserId]:
        """The users who get it, in a member channel; empty: who subscribed."""


class Route(msgspec.Struct, frozen=True, gc=False):
    """Which sessions get a message that came from another node."""

    origin: str
    audience: Collection[UserId]


Deliver = Callable[[Sequence[tuple[StoredMessage, Routed]]], None]
"""Takes messages that have their places to this node's sessions; never waits."""


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """Counts since the start, and what is in memory now."""

    published: int
    duplicates: int
    open_channels: int
    waiting: int


class Broker(Protocol):
    """Numbers, keeps and sends out the messages of channels.

    Promises: `publish` returns when each message is as durable as its namespace says. (sender, key) is placed once
    within the dedupe window; a resend marked `retry` is looked up in the store too. Sending out is in the order of the
    seqs, on every node, and a message that anybody saw in a durable channel is in the history: one node stores before
    it sends out; of many, another one stores what a dead one left. Seqs of a channel are dense within an epoch. No
    place (epoch, seq) is used for two messages, and the seqs of a channel's stored messages rise from epoch to epoch; a
    seq of a message that was not stored may come again under another epoch.
    """

    def publish_at_once(self, drafts: Sequence[Draft]) -> list[tuple[StoredMessage, Draft]]:
        """Place drafts of one channel and send them out, in their order, up to the first that has to wait.

        Return those that were placed, with their messages. The rest is for `publish`: what waits for the store, repeats
        a key or is marked `retry`, and what is of another channel than the first.
        """

    def publish_soon(self, draft: Draft, done: Callable[[Published | Refused], None]) -> bool:
        """Place one draft without a task, and call back with its answer when it is as durable as its namespace says.

        Return False, with nothing done, where `publish` has to do it. `done` is called once, never before this returns.
        """

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        """Place drafts, in their order; return one answer for each. Cancelling it leaves begun ones to finish."""

    async def recover(
        self, channel: ChannelName, since: tuple[Epoch, Seq] | None, join: Callable[[], None]
    ) -> Recovery:
        """Return what came after `since`, and call `join` at exactly that point of the channel.

        Without `since` there are no messages, and nothing was missed: `recovered` is true.

        Between the last message returned and the first one delivered after `join` there is no gap and no repeat.
        `join` must not wait. It is called once, before this returns, unless this raises.
        """

    async def history(
        self, channel: ChannelName, *, before: Seq | None, after: Seq | None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel, in rising seq."""

    async def forget(self, channel: ChannelName, sender: UserId, key: str) -> bool:
        """Empty the message of this sender and key, in memory and store; its place stays, with kind "expired".

        Returns False if it is being stored at the moment, and must be asked for again. Nothing happens if there is
        no such message.
        """

    def statistics(self) -> BrokerStatistics:
        """Return counts for /metrics."""


class NodeBroker(Broker, Protocol):
    """A broker with its life, as the node sees it."""

    async def start(self) -> None:
        """Find out what was left; before anything else."""

    async def run(self) -> None:
        """Do what is to be done beside publishing, until cancelled."""

    async def stop(self) -> None:
        """Save what is left; after this nothing may be published."""
