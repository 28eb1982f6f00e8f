"""One broker, and the test in the place of the router: what it delivers is written down."""

from collections.abc import Callable, Sequence
from itertools import count

import msgspec
import trio

from chatd.broker import Broker, Draft, Published, Refused, Routed
from chatd.broker.memory import MemoryBroker
from chatd.config import NAMESPACES, Config, Namespace
from chatd.counters import Latency
from chatd.settings import Settings
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Store
from storage.records import StoredMessage
from tests.fakes.hand_clock import HandClock

ALICE, BOB = UserId("alice"), UserId("bob")
DURABLE, OTHER, RECENT, PASSING = map(ChannelName, ("track:car", "track:bus", "room:a", "presence:alice"))
"""Two durable channels, one that keeps recent messages, and one that keeps nothing."""

PATIENCE_SECONDS = 10.0

_epochs = count(1)


def draft(
    key: str, channel: str = DURABLE, *, sender: str = ALICE, retry: bool = False, origin: str = "", kind: str = ""
) -> Draft:
    """Make a draft whose body says its key."""
    return Draft(
        channel=ChannelName(channel),
        sender=UserId(sender),
        key=key,
        body=json_body({"key": key}),
        retry=retry,
        origin=origin,
        kind=kind,
    )


def rules(channel: ChannelName) -> Namespace:
    """Return the shipped rules of a channel."""
    return NAMESPACES[channel.partition(":")[0]]


def small_config(**keys: object) -> Config:
    """Return a configuration whose broker reaches its bounds soon."""
    config = Config()
    limits = msgspec.structs.replace(config.limits, recover_messages=50)
    broker = msgspec.structs.replace(config.broker, **{"recent_messages": 10, "save_seconds": 0.01, **keys})
    return msgspec.structs.replace(config, limits=limits, broker=broker)


class Desk:
    """Takes what a broker delivers. Channels in `in_use` have readers."""

    def __init__(self) -> None:
        self.broker: Broker
        self.delivered: list[StoredMessage] = []
        self.drafts: list[Routed] = []
        self.in_use: set[ChannelName] = set()
        self._came = trio.Event()

    def deliver(self, messages: Sequence[tuple[StoredMessage, Routed]]) -> None:
        """Take messages, as the router does."""
        for message, taken in messages:
            self.delivered.append(message)
            self.drafts.append(taken)
        self._came.set()
        self._came = trio.Event()

    async def heard(self, number: int) -> list[StoredMessage]:
        """Return what was delivered, when it is so many messages."""
        with trio.fail_after(PATIENCE_SECONDS):
            while len(self.delivered) < number:
                await self._came.wait()
        return self.delivered

    def seqs(self, channel: str = DURABLE) -> list[int]:
        """Return the seqs that were delivered in a channel."""
        return [message.seq for message in self.delivered if message.channel == channel]

    async def publish(self, *drafts: Draft) -> list[Published | Refused]:
        """Publish, one alone as the router does, and hold the broker to one answer for each."""
        if len(drafts) == 1 and (answer := await self._publish_soon(drafts[0])) is not None:
            return [answer]
        answers = await self.broker.publish(drafts)
        assert len(answers) == len(drafts)
        return answers

    async def _publish_soon(self, single: Draft) -> Published | Refused | None:
        answers: list[Published | Refused] = []
        came = trio.Event()

        def done(answer: Published | Refused) -> None:
            answers.append(answer)
            came.set()

        if not self.broker.publish_soon(single, done):
            return None
        assert not answers, "it called back before it returned"
        await came.wait()
        [answer] = answers
        return answer

    async def placed(self, *drafts: Draft) -> list[Seq]:
        """Publish what must succeed; return the seqs."""
        seqs = []
        for answer in await self.publish(*drafts):
            assert isinstance(answer, Published), answer
            seqs.append(answer.place.seq)
        return seqs

    async def one(self, single: Draft) -> Published:
        """Publish one draft that must succeed."""
        [answer] = await self.publish(single)
        assert isinstance(answer, Published), answer
        return answer

    async def refused(self, single: Draft) -> ErrorCode:
        """Publish one draft that must be refused; return the code."""
        [answer] = await self.publish(single)
        assert isinstance(answer, Refused), answer
        return answer.code


def memory_broker(
    store: Store, desk: Desk, *, clock: Callable[[], float] | None = None, config: Config | None = None
) -> MemoryBroker:
    """Make the broker of a single node, whose epochs are numbers."""
    broker = MemoryBroker(
        store,
        Settings(config or small_config()),
        rules,
        desk.deliver,
        desk.in_use.__contains__,
        clock or HandClock(),
        lambda: Epoch(f"epoch-{next(_epochs)}"),
        Latency(),
    )
    desk.broker = broker
    return broker


class Reader:
    """Reads one channel with a cursor, as a client does: recovers, reads on, leaves, comes back.

    It holds the broker to: what it gets follows what it has, without a gap or a repeat, or it is told so.
    """

    def __init__(self, desk: Desk, channel: ChannelName) -> None:
        self.desk = desk
        self.channel = channel
        self.cursor: tuple[Epoch, Seq] | None = None
        self.seen: list[StoredMessage] = []
        self._joined: int | None = None  # how many messages had been delivered when it joined

    async def come(self) -> bool:
        """Recover and join; tell whether nothing was missed."""
        joins = []

        def join() -> None:
            joins.append(len(self.desk.delivered))
            self.desk.in_use.add(self.channel)

        since = self.cursor
        recovery = await self.desk.broker.recover(self.channel, since, join)
        [self._joined] = joins
        if recovery.recovered and since is not None:
            assert recovery.epoch == since[0]
            self._take(recovery.messages)
            assert self.cursor == (recovery.epoch, recovery.seq)
        else:
            assert recovery.messages == []
            self.seen = []
            self.cursor = (recovery.epoch, recovery.seq)
        return recovery.recovered

    def leave(self) -> None:
        """Take what was delivered since joining, and read no more."""
        if self._joined is None:
            return
        came = self.desk.delivered[self._joined :]
        self._joined = None
        self._take([message for message in came if message.channel == self.channel])

    def _take(self, messages: list[StoredMessage]) -> None:
        for message in messages:
            assert self.cursor is not None
            if message.epoch == self.cursor[0]:
                assert message.seq == self.cursor[1] + 1, f"{message.seq} came after {self.cursor[1]}"
            else:
                assert message.seq > 0
                self.seen = []
            self.cursor = (message.epoch, message.seq)
            self.seen.append(message)
