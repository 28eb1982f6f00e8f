"""Member channels between nodes: what was placed here goes to the nodes that hold its members, and to nobody else.

Who posts (`Poster`): when a message is stored, the registry says which nodes hold sessions of its audience, and each of
them gets it once, with the users it is for. Only then is it taken off the write-ahead stream: a node that dies before
leaves it to others, who post it again.

Who gets it (`Arrivals`): a node keeps the place of the member channels that were lately active. What comes twice is
dropped. What comes too early waits `broker.hole_seconds` for what was overtaken; then that is read from the log and the
store. In a channel without a place the first message may be such a one too: what may still come before it is read from
the log at once. When post was lost, or Redis had to be connected again, the store is asked in which channels of the
users here anything was written since, and what was missed is read.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NewType, Protocol

import msgspec
import structlog
import trio

from chatd.broker import Deliver, Route
from chatd.broker.appending import DURABLE_RECENT, Appender, Row
from chatd.broker.feed import Feed, Item, order
from chatd.broker.heads import Heads
from chatd.broker.log import Log
from chatd.broker.missed import Missed
from chatd.broker.record import read_record, record_of
from chatd.config import Broker
from chatd.redis import RedisError
from protocol.names import ChannelName, Seq, UserId
from storage import Store, StoreError
from storage.records import StoredMessage

KIND = "message"

NodeId = NewType("NodeId", str)
"""A node, as the cluster names it."""

# Asked of the store at once when post was lost.
_MEMBERSHIPS = 100

# What was written so long before post was lost is looked at too: clocks differ, and writing takes time.
_MARGIN_SECONDS = 10.0

_NOTE_SECONDS = 1.0

_PAUSE_SECONDS = 0.25

_log = structlog.get_logger("broker")


class Cluster(Protocol):
    """What the nodes of a deployment know of each other."""

    async def nodes_of(self, users: Collection[UserId]) -> Mapping[str, Sequence[UserId]]:
        """Return the nodes that hold sessions of these users, each with those it holds."""

    def send(self, node: str, payload: bytes) -> None:
        """Send a payload to a node's `Arrivals.take`, in order; it may be lost."""


class _Letter(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message of a member channel, and whom it is for on the node that gets it."""

    channel: ChannelName
    record: bytes
    users: Sequence[UserId]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Letter).decode


class Poster:
    """Takes what this node placed to the nodes of its members, in order."""

    def __init__(self, cluster: Cluster, appender: Appender, most: int) -> None:
        self.posted = 0
        self._cluster = cluster
        self._appender = appender
        self._most = most
        self._waiting: list[Row] = []
        self._wake = trio.Event()

    def put(self, rows: Sequence[Row]) -> None:
        """Post stored messages soon. When too many wait, the rest is left to who looks for leftovers."""
        room = max(0, self._most - len(self._waiting))
        self._waiting += rows[:room]
        self._appender.leave(rows[room:])
        self._wake.set()

    async def run(self) -> None:
        """Post what there is, until cancelled. While the registry cannot be asked, it waits."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            rows, self._waiting = self._waiting, []
            try:
                await self._post(rows)
            except RedisError as error:
                _log.warning("members' nodes are not known", error=str(error), messages=len(rows))
                self._waiting[:0] = rows
                await trio.sleep(_PAUSE_SECONDS)
                self._wake.set()
            except Exception:
                _log.exception("messages of member channels cannot be posted", messages=len(rows))
                self._appender.leave(rows)

    async def _post(self, rows: Sequence[Row]) -> None:
        users = {user for row in rows for user in row[2].audience}
        nodes = await self._cluster.nodes_of(users)
        held = [(node, set(here)) for node, here in nodes.items()]
        for _, message, route, _, _ in rows:
            record = record_of(message, route.origin)
            audience = route.audience
            for node, here in held:
                for_them = [user for user in audience if user in here]
                if for_them:
                    self._cluster.send(node, _encode(_Letter(message.channel, record, for_them)))
        self.posted += len(rows)
        self._appender.take_off(rows)


class Arrivals:
    """Delivers the member channels' messages that other nodes, or this one, posted here: in order, each once."""

    def __init__(
        self,
        heads: Heads,
        missed: Missed,
        store: Store,
        config: Broker,
        deliver: Deliver,
        audience: Callable[[ChannelName], Awaitable[Collection[UserId]]],
        users_here: Callable[[], Collection[UserId]],
        on_message: Callable[[StoredMessage], None],
        is_connected: Callable[[], bool],
        silence_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.fills = 0
        self.filled = 0
        self._heads = heads
        self._missed = missed
        self._store = store
        self._config = config
        self._deliver = deliver
        self._audience = audience
        self._users_here = users_here
        self._on_message = on_message  # before anybody gets it: caches of members change here
        self._clock = clock  # Unix seconds
        self._feeds: OrderedDict[ChannelName, Feed] = OrderedDict()
        self._nursery: trio.Nursery | None = None
        self._is_connected = is_connected
        self._margin_ms = int(
            (_MARGIN_SECONDS + 2 * silence_seconds) * 1000
        )  # so long nobody notices a dead connection
        self._heard_at = clock()  # what was posted until then has come, but for the margin
        self._must_check = trio.Event()
        # What is older was posted, by its node or by who found it left: so long two rounds of looking take.
        self._late_ms = int(2 * config.leftover_seconds * 1000)

    async def run(self) -> None:
        """Fill holes, and look for what was lost, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self._check_loop()
            finally:
                self._nursery = None

    def take(self, payload: bytes) -> None:
        """Deliver what was posted here, or hold it back until what is missing before it was read."""
        letter = _decode(payload)
        message, route = read_record(letter.channel, letter.record)
        feed = self._feed(message.channel)
        if feed.log is None and message.seq == 1:
            self._begin_before(feed, message)
        is_next = feed.take((message, Route(route.origin, letter.users)))
        if is_next:
            self._on_message(message)
            self._deliver([(message, Route(route.origin, letter.users))])
        elif is_next is None:
            if feed.is_next(message):  # it is what the others wait for
                self._go_on(feed, [])
            if not feed.is_live and not feed.is_reading and self._nursery is not None:
                feed.is_reading = True
                self._nursery.start_soon(self._fill, feed)

    def place(self, channel: ChannelName) -> Log | None:
        """Return where this node's sessions stand in a channel, if it was lately active."""
        feed = self._feeds.get(channel)
        return feed.log if feed is not None else None

    def lost(self) -> None:
        """Look for what was lost: post did not come, or may not have."""
        self._must_check.set()

    def _feed(self, channel: ChannelName) -> Feed:
        feed = self._feeds.get(channel)
        if feed is None:
            feed = self._feeds[channel] = Feed(channel, self._config.held_messages)
            while len(self._feeds) > self._config.open_channels:
                self._feeds.popitem(last=False)
        else:
            self._feeds.move_to_end(channel)
        return feed

    def _begin_before(self, feed: Feed, message: StoredMessage) -> None:
        """Let a feed stand right before a message."""
        namespace = self._heads.rules(feed.channel)
        feed.begin(Log(feed.channel, namespace, message.epoch, Seq(message.seq - 1), 0))
        feed.is_live = not feed.held

    # Holes.

    async def _fill(self, feed: Feed) -> None:
        """Wait for what was overtaken; read what does not come."""
        try:
            if feed.log is not None:
                await trio.sleep(self._config.hole_seconds)
            while not feed.is_live:
                try:
                    await (self._read(feed) if feed.log is not None else self._begin(feed))
                except (RedisError, StoreError) as error:
                    _log.warning("missed messages cannot be read", channel=feed.channel, error=str(error))
                    await trio.sleep(_PAUSE_SECONDS)
        except Exception:
            _log.exception("a channel's missed messages could not be taken", channel=feed.channel)
        finally:
            feed.is_reading = False

    async def _begin(self, feed: Feed) -> None:
        """Stand before the first message that came, or before what it may have overtaken."""
        head = await self._heads.open(feed.channel)
        log = await self._missed.log(head, None, DURABLE_RECENT)
        audience = await self._audience(feed.channel)
        if feed.log is not None or not feed.held:
            return
        first = min((message for message, _ in feed.held), key=lambda message: (order(message.epoch), message.seq))
        since = first.at - self._late_ms
        late = [item for item in log if item[0].at >= since and _is_before(item[0], first)]
        self._begin_before(feed, late[0][0] if late else first)
        self._go_on(feed, feed.missed([(message, Route(route.origin, audience)) for message, route in late]))

    async def _read(self, feed: Feed) -> None:
        log = feed.log
        assert log is not None
        head, last = await self._heads.look(feed.channel)
        items, is_whole = await self._missed.since(head, last, (log.epoch, log.delivered), self._config.held_messages)
        audience = await self._audience(feed.channel)
        self._go_on(feed, feed.missed([(message, Route(route.origin, audience)) for message, route in items]))
        if not is_whole and (order(log.epoch), log.delivered) < (order(head.epoch), last):
            feed.begin(Log(feed.channel, head.namespace, head.epoch, last, 0))
            self._go_on(feed, [])

    def _go_on(self, feed: Feed, items: list[Item]) -> None:
        if items:
            self.fills += 1
            self.filled += len(items)
        items = items + feed.release()
        for message, _ in items:
            self._on_message(message)
        if items:
            self._deliver(items)

    # Lost post.

    async def _check_loop(self) -> None:
        """Look when something was lost; as long as nothing is, note that what came until now was heard."""
        while True:
            with trio.move_on_after(_NOTE_SECONDS):
                await self._must_check.wait()
            if not self._must_check.is_set():
                if self._is_connected():
                    self._heard_at = self._clock()
                continue
            self._must_check = trio.Event()
            since = int(self._heard_at * 1000) - self._margin_ms
            try:
                await self._check(since)
            except (RedisError, StoreError) as error:
                _log.warning("lost messages cannot be read", error=str(error))
                await trio.sleep(_PAUSE_SECONDS)
                self._must_check.set()
            except Exception:
                _log.exception("lost messages could not be taken")

    async def _check(self, since: int) -> None:
        """Read, in every channel of every user here, what was written since (Unix milliseconds)."""
        seen: set[ChannelName] = set()
        for user in list(self._users_here()):
            after: tuple[int, ChannelName] | None = None
            while page := await self._store.memberships(user, since=since, after=after, limit=_MEMBERSHIPS):
                for membership in page:
                    if membership.channel in seen or membership.last is None or membership.last.at < since:
                        continue
                    seen.add(membership.channel)
                    await self._check_channel(membership.channel, since)
                after = page[-1].at, page[-1].channel

    async def _check_channel(self, channel: ChannelName, since: int) -> None:
        feed = self._feeds.get(channel)
        if feed is None or feed.log is None:
            rows = await self._store.history(channel, limit=self._config.recent_messages)
            late = [message for message in rows if message.at >= since]
            if not late:
                return
            feed = self._feed(channel)
            self._begin_before(feed, late[0])
        if feed.is_reading:
            return  # that reads everything up to now
        feed.is_live, feed.is_reading = False, True
        try:
            await self._read(feed)
        finally:
            feed.is_reading = False


def _is_before(message: StoredMessage, other: StoredMessage) -> bool:
    return message.epoch == other.epoch and message.seq < other.seq
