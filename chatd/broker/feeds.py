"""The subscribed channels of a node: heard while anybody reads them, in order, holes filled before what follows.

Theory of operation. A node hears a channel from its first reader on, and for `broker.linger_seconds` after its last one
left. Each channel has a `Feed`, which knows what was delivered last. It is live while every message follows that. When
one does not (a hole, another epoch), when the subscription was just confirmed, or when the connection was replaced, it
is read what the log and the store have in between, and only then what was held back goes on. All deliveries of a node
come from here, those of its own sessions' messages too: so every reader sees one order. Of those Redis says twice where
they stand, in the answer to their sender's node and in pub/sub; what comes first is delivered, if it is what follows.
"""

from collections.abc import Callable

import structlog
import trio

from chatd.broker import Deliver, Draft, Route
from chatd.broker.appending import DURABLE_RECENT
from chatd.broker.feed import Feed, Item, order
from chatd.broker.heads import Head, Heads
from chatd.broker.log import Log
from chatd.broker.missed import Missed
from chatd.broker.record import HIDE, NOBODY, hidden_place, read_id, read_record
from chatd.config import Broker
from chatd.counters import Latency
from chatd.redis import RedisError
from chatd.redis.servers import Servers
from protocol.names import ChannelName, Epoch, Seq
from storage import StoreError, StoreUnavailable
from storage.records import StoredMessage

# What is missing may still be on its way into the store: read again this often, with pauses that grow.
_TRIES = 8
_PAUSE_SECONDS = 0.05

_log = structlog.get_logger("broker")


class Hearing:
    """Takes what Redis sends out in one channel: the listener of its pub/sub channel."""

    __slots__ = ("_feeds", "feed", "is_subscribed", "ready", "used_at", "waiting")

    def __init__(self, feeds: "Feeds", channel: ChannelName, max_held: int) -> None:
        self._feeds = feeds
        self.feed = Feed(channel, max_held)
        self.is_subscribed = False
        self.ready: trio.Event | None = trio.Event()  # set when the feed is live; None: it is
        self.used_at = 0.0
        self.waiting = 0  # those who recover right now: it must stay

    @property
    def log(self) -> Log:
        """Where it stands; it must have been live once."""
        assert self.feed.log is not None
        return self.feed.log

    def subscribed(self) -> None:
        """Read what was missed, now that nothing more will be."""
        self.is_subscribed = True
        self._feeds.read(self)

    def heard(self, payload: bytes) -> None:
        """Deliver a message when the read is over, or hold it back."""
        feed = self.feed
        if payload[0] == HIDE[0]:
            feed.hide(hidden_place(payload))
            return
        if feed.has(*read_id(payload[: payload.index(b" ")])):
            return  # mostly one that was placed here
        item = read_record(feed.channel, payload)
        is_next = feed.take(item)
        if is_next:
            self._feeds.outgoing.append(item)
        elif is_next is None:
            self._feeds.read(self)

    def lost(self) -> None:
        """Let nobody join until it is known what was missed."""
        self.is_subscribed = False
        self.feed.is_live = False
        if self.ready is None:
            self.ready = trio.Event()


class Feeds:
    """All feeds of a node. `run` must be running."""

    def __init__(
        self,
        servers: Servers,
        heads: Heads,
        missed: Missed,
        config: Broker,
        deliver: Deliver,
        in_use: Callable[[ChannelName], bool],
        on_lost: Callable[[ChannelName], None],
        clock: Callable[[], float],
    ) -> None:
        self.known: dict[ChannelName, Hearing] = {}
        self.outgoing: list[Item] = []
        self.fills = 0  # how often something was missed and read
        self.filled = 0  # messages that were
        self.losses = 0  # how often it could not be read
        self.lag = Latency()
        self._servers = servers
        self._heads = heads
        self._missed = missed
        self._config = config
        self._deliver = deliver
        self._in_use = in_use
        self._on_lost = on_lost
        self._clock = clock  # Unix seconds
        self._nursery: trio.Nursery | None = None
        servers.on_batch.append(self.flush)
        servers.on_answers.append(self.flush)

    async def run(self) -> None:
        """Read what was missed, and stop hearing what nobody reads, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for hearing in self.known.values():
                if hearing.is_subscribed and hearing.ready is not None:
                    self.read(hearing)
            try:
                await self._linger_loop()
            finally:
                self._nursery = None

    def numbered(self, message: StoredMessage, draft: Draft) -> None:
        """Deliver a message that was placed here, if it is what follows: its copy in pub/sub is then known already."""
        hearing = self.known.get(message.channel)
        if hearing is not None and hearing.feed.follow(message):
            self.outgoing.append((message, Route(draft.origin, ()) if draft.origin else NOBODY))

    def flush(self) -> None:
        """Deliver what one read of answers or of pub/sub messages brought."""
        if self.outgoing:
            outgoing, self.outgoing = self.outgoing, []
            self.lag.observe(max(0.0, self._clock() - outgoing[0][0].at / 1000), len(outgoing))
            self._deliver(outgoing)

    # Hearing.

    async def hear(self, channel: ChannelName) -> Hearing:
        """Return a hearing that is live, and must stay until its `waiting` is taken back by one.

        Raises:
            StoreUnavailable: It is not live within `redis.reply_seconds`.
        """
        hearing = self.known.get(channel)
        if hearing is None:
            hearing = self.known[channel] = Hearing(self, channel, self._config.held_messages)
            shards = self._servers.shards
            shard = shards.of(channel)
            self._servers.subscribe(shard, shards.key(shard, f"log:{channel}"), hearing)
        hearing.waiting += 1
        hearing.used_at = trio.current_time()
        try:
            await self.wait_live(hearing)
        except BaseException:
            hearing.waiting -= 1
            raise
        return hearing

    async def wait_live(self, hearing: Hearing) -> None:
        """Return when a hearing is live.

        Raises:
            StoreUnavailable: It is not within `redis.reply_seconds`.
        """
        if hearing.ready is not None:
            with trio.move_on_after(self._servers.config.reply_seconds):
                while hearing.ready is not None:
                    await hearing.ready.wait()
            if hearing.ready is not None:
                raise StoreUnavailable("Redis cannot be reached")

    async def _linger_loop(self) -> None:
        """Stop hearing channels whose last reader left a while ago."""
        linger = self._config.linger_seconds
        while True:
            await trio.sleep(linger / 2)
            now = trio.current_time()
            for number, (channel, hearing) in enumerate(list(self.known.items())):
                if hearing.waiting or self._in_use(channel):
                    hearing.used_at = now
                elif hearing.used_at + linger <= now:
                    self._forget(channel)
                if number % 1000 == 999:
                    await trio.lowlevel.checkpoint()

    def _forget(self, channel: ChannelName) -> None:
        del self.known[channel]
        shards = self._servers.shards
        self._servers.unsubscribe(shards.of(channel), shards.key(shards.of(channel), f"log:{channel}"))

    # What was missed.

    def read(self, hearing: Hearing) -> None:
        """Read what was missed in a channel, in a task of its own, unless that is being done."""
        if hearing.ready is None:
            hearing.ready = trio.Event()
        if self._nursery is not None and not hearing.feed.is_reading:
            hearing.feed.is_reading = True
            self._nursery.start_soon(self._read, hearing)

    async def _read(self, hearing: Hearing) -> None:
        """Bring a feed up to where its channel stands, and let it go on from there."""
        pause = _PAUSE_SECONDS
        tries = 0
        try:
            while hearing.is_subscribed and self.known.get(hearing.feed.channel) is hearing:
                try:
                    is_whole = await self._read_once(hearing, is_last=tries >= _TRIES)
                except (RedisError, StoreError) as error:
                    _log.warning("missed messages cannot be read", channel=hearing.feed.channel, error=str(error))
                    await trio.sleep(min(1.0, pause * 4))
                    continue
                except Exception:
                    _log.exception("missed messages could not be taken", channel=hearing.feed.channel)
                    await trio.sleep(1.0)
                    continue
                if is_whole and hearing.feed.is_live:
                    return
                if not is_whole:
                    tries += 1
                    await trio.sleep(pause)
                    pause *= 1.5
        finally:
            hearing.feed.is_reading = False
            if hearing.feed.is_live and hearing.ready is not None:
                hearing.ready.set()
                hearing.ready = None
            elif hearing.is_subscribed and self._nursery is not None and hearing.feed.channel in self.known:
                self.read(hearing)

    async def _read_once(self, hearing: Hearing, *, is_last: bool) -> bool:
        """Read once; tell whether what was read is whole. With `is_last` what is missing is given up."""
        feed = hearing.feed
        head, last = await self._heads.look(feed.channel)
        log = feed.log
        if log is None:
            feed.begin(Log(feed.channel, head.namespace, head.epoch, last, self._remembered(head)))
            self._go_on(feed, [])
            return True
        at = (log.epoch, log.delivered)
        items, is_whole = await self._missed.since(head, last, at, self._config.held_messages)
        if not is_whole and not is_last and head.namespace.history == "durable":
            return False
        if items:
            self.fills += 1
            self.filled += len(items)
        self._go_on(feed, feed.missed(items))
        if not is_whole:
            self._give_up(feed, head, last, was=at[0])
        return True

    def _give_up(self, feed: Feed, head: Head, last: Seq, was: Epoch) -> None:
        """Go on after a hole. Readers see it from a changed epoch, or need nothing but the newest; others are told."""
        log = feed.log
        if log is not None and (order(log.epoch), log.delivered) < (order(head.epoch), last):
            feed.begin(Log(feed.channel, head.namespace, head.epoch, last, self._remembered(head)))
            self._go_on(feed, [])
        if was == head.epoch and not head.namespace.conflate:
            self.losses += 1
            self._on_lost(feed.channel)

    def _go_on(self, feed: Feed, items: list[Item]) -> None:
        items = items + feed.release()
        if items:
            self.flush()
            self._deliver(items)

    def _remembered(self, head: Head) -> int:
        match head.namespace.history:
            case "durable":
                return DURABLE_RECENT
            case "recent":
                return self._config.recent_messages
            case "none":
                return 0
