"""The broker of many nodes: Redis numbers, keeps and sends out; the store is the log that lasts.

    publish ─► append.lua ─► store ─► XDEL ─► answer          appending.py, batch.py
                   │            └──► nodes of the members     posting.py
                   └─► pub/sub ─► feeds in order ─► deliver   feeds.py, feed.py
    recover, history: this node's memory, the log in Redis, the store     missed.py
    where a channel stands, and whether Redis can be believed             heads.py, unsettled.py
    what dead nodes left                                                  leftovers.py

docs/explanation/broker-on-redis.md tells what every failure costs.
"""

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec
import trio

from chatd.broker import EXPIRED_KIND, RETRY_SECONDS, BrokerStatistics, Deliver, Draft, Published, Recovery, Refused
from chatd.broker.alone import Alone, Done
from chatd.broker.appending import KEY_REUSED, Append, Appender
from chatd.broker.batch import Batch
from chatd.broker.feeds import Feeds
from chatd.broker.heads import Heads
from chatd.broker.keys import known_key
from chatd.broker.leftovers import Leftovers
from chatd.broker.missed import Missed
from chatd.broker.posting import Arrivals, Cluster, Poster
from chatd.broker.reading import LogReader, unavailable
from chatd.broker.saver import Saver
from chatd.broker.unsettled import Unsettled
from chatd.config import Namespace
from chatd.counters import Latency
from chatd.redis import RedisError
from chatd.redis.line import Line
from chatd.redis.servers import Servers
from chatd.settings import Settings
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Store, StoreError
from storage.records import StoredMessage

_DAY_MILLISECONDS = 86_400_000

# Between two tries to send what Redis did not take: twice as long each time, up to the longest. Thousands may wait
# while a server is full or a failover goes on.
_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.32


@dataclass(frozen=True, slots=True)
class Local:
    """What the broker asks of the node that it is part of. What is not `Awaitable` returns at once."""

    deliver: Deliver
    in_use: Callable[[ChannelName], bool]
    lost: Callable[[ChannelName], None]
    """Tells the readers of a channel that messages are missing which nobody can read any more."""
    audience: Callable[[ChannelName], Awaitable[Collection[UserId]]]
    users_here: Callable[[], Collection[UserId]]
    arriving: Callable[[StoredMessage], None]
    """Takes a member channel's message right before it is delivered: it may change who the members are."""


@dataclass(frozen=True, slots=True)
class ManyNodesStatistics:
    """What only a broker of many nodes has: counts since the start, and what is there now."""

    feeds: int
    pending: int
    leftovers: int
    fills: int
    filled: int
    losses: int
    posted: int
    append: Latency
    lag: Latency


class RedisBroker:
    """Implements `Broker` for many nodes."""

    def __init__(
        self,
        servers: Servers,
        store: Store,
        settings: Settings,
        rules: Callable[[ChannelName], Namespace],
        local: Local,
        cluster: Cluster,
        clock: Callable[[], float],
        commit_latency: Latency,
    ) -> None:
        self._servers = servers
        self._store = store
        self._settings = settings
        config = self._config = settings.config.broker
        self._clock = clock  # Unix seconds
        self._saver = Saver(store, config)
        self._append_latency = Latency()
        self._heads = Heads(servers, store, config, rules)
        self._missed = Missed(servers, store)
        self._reader = LogReader(self._missed, store, config.recent_messages)
        self.appender = Appender(servers, store, settings.config, self._heads, self._saver, commit_latency)
        self._feeds = Feeds(servers, self._heads, self._missed, config, local.deliver, local.in_use, local.lost, clock)
        self._poster = Poster(cluster, self.appender, config.held_messages)
        self.appender.post = self._poster.put
        self.appender.on_numbered = self._feeds.numbered
        self.arrivals = Arrivals(
            self._heads,
            self._missed,
            store,
            config,
            local.deliver,
            local.audience,
            local.users_here,
            local.arriving,
            lambda: all(line.is_up for line in servers.lines()),
            servers.config.ping_seconds,
            clock,
        )
        self._leftovers = Leftovers(servers, self._heads, self.appender, config, local.audience, clock, random.random)
        self._unsettled = Unsettled(servers, self.appender.writes, config)
        self._nursery: trio.Nursery | None = None
        self._about_now = 0.0  # trio's time, at most a tenth of `broker.publish_seconds` ago: asking costs too much
        self._batches: dict[Batch | Alone, float] = {}  # that somebody waits for, and since when
        self._runs: dict[str, str] = {}  # the process of each server, when it was last connected
        servers.on_connected.append(self._connected)
        settings.on_replaced.append(lambda _: self._heads.forget_all())

    # Its life.

    async def start(self) -> None:
        """Find out what the store is; before anything else."""
        await self._heads.start()

    async def run(self) -> None:
        """Do what the broker does beside publishing, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._feeds.run)
            nursery.start_soon(self._poster.run)
            nursery.start_soon(self.arrivals.run)
            nursery.start_soon(self._leftovers.run)
            nursery.start_soon(self._saver.run)
            nursery.start_soon(self._unsettled.run)
            try:
                await self._patience_loop()
            finally:
                self._nursery = None

    async def stop(self) -> None:
        """Save what is left; after this nothing may be published."""
        await self._saver.save_all()

    def _connected(self, line: Line) -> None:
        """Believe nothing that was known of a server whose process is another one."""
        name = str(line.address)
        before = self._runs.get(name)
        self._runs[name] = line.run_id
        if before == line.run_id:
            return
        self._heads.forget_all()
        self._unsettled.say()

    # Publishing.

    def publish_at_once(self, _: Sequence[Draft]) -> list[tuple[StoredMessage, Draft]]:
        """Leave all to `publish`: Redis has to be asked."""
        return []

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        """Place drafts, in their order; return one answer for each."""
        batch = Batch(drafts)
        todo = self._new_ones(batch)
        started = trio.current_time()
        heads = self._heads
        if all(heads.find(drafts[index].channel) for index in todo) and not any(drafts[index].retry for index in todo):
            self._send(batch, todo)
            await self._wait(batch, started)
            todo, batch.again = batch.again, []
            if not todo or batch.given_up:
                return self._finished(batch, started)
        await self._persist_for(batch, todo, started)
        return self._finished(batch, started)

    def publish_soon(self, draft: Draft, done: Done) -> bool:
        """Place one draft and call back with its answer, if only Redis and the store have to be asked for it.

        Return False, with nothing done, where `publish` has to do it. `done` is called once, never before this returns.
        """
        head = self._heads.find(draft.channel)
        appender = self.appender
        if head is None or draft.retry or self._nursery is None or appender.keys.get((draft.sender, draft.key)):
            return False
        if appender.is_full:
            return False  # it may be answered before this returns
        alone = Alone(draft, done, self._ended, self._again)
        alone.begun_at = self._clock()
        self._batches[alone] = self._about_now
        appender.send(Append(appender, alone, 0, head), self._about_now)
        return True

    def _ended(self, alone: Alone) -> None:
        del self._batches[alone]
        self._append_latency.observe(max(0.0, self._clock() - alone.begun_at))

    def _again(self, alone: Alone, may_be_placed: bool) -> None:
        """Let a task do what has to be tried again."""
        batch = Batch(alone.drafts)
        if may_be_placed:
            batch.sent.add(0)
        done, alone.done = alone.done, None
        if done is None:
            return
        if self._nursery is None:
            done(batch.result()[0])
        else:
            self._nursery.start_soon(self._go_on, batch, done)

    async def _go_on(self, batch: Batch, done: Done) -> None:
        started = trio.current_time()
        await self._persist_for(batch, [0], started)
        done(self._finished(batch, started)[0])

    def _new_ones(self, batch: Batch) -> list[int]:
        """Answer drafts whose keys this node knows; return which of them are left."""
        keys = self.appender.keys
        todo = []
        for index, draft in enumerate(batch.drafts):
            known = keys.get((draft.sender, draft.key))
            if known is None:
                todo.append(index)
            elif known.channel != draft.channel:
                batch.answers[index] = KEY_REUSED
            else:
                self.appender.duplicates += 1
                batch.answers[index] = Published(known.place, duplicate=True)
        return todo

    def _send(self, batch: Batch, todo: Sequence[int]) -> None:
        """Send drafts whose heads are known, in their order. Nothing waits: what is sent first is placed first."""
        now = trio.current_time()
        for index in todo:
            head = self._heads.find(batch.drafts[index].channel)
            if head is None:
                batch.again.append(index)
            else:
                self.appender.send(Append(self.appender, batch, index, head), now)

    async def _wait(self, batch: Batch, started: float) -> None:
        self._batches[batch] = started
        try:
            await batch.wait()
        finally:
            del self._batches[batch]

    async def _persist_for(self, batch: Batch, todo: list[int], started: float) -> None:
        """Do so until `broker.publish_seconds` are over."""
        with trio.move_on_at(started + self._config.publish_seconds) as patience:
            await self._persist(batch, todo)
        if patience.cancelled_caught:
            batch.give_up()

    async def _persist(self, batch: Batch, todo: list[int]) -> None:
        """Send drafts again and again, opening their channels, until each has its answer."""
        looked_up: set[int] = set()
        pause = _PAUSE_SECONDS
        while todo:
            try:
                for index in todo:
                    await self._heads.open(batch.drafts[index].channel)
                    if batch.drafts[index].retry and index not in looked_up:
                        await self._find(batch, index)
                        looked_up.add(index)
            except RedisError:
                for index in todo:
                    await self._servers.wait_up(self._servers.shards.of(batch.drafts[index].channel))
                await trio.sleep(_PAUSE_SECONDS)
                continue
            except StoreError as error:
                for index in todo:
                    if batch.answers[index] is None:
                        batch.answers[index] = Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)
                return
            self._send(batch, [index for index in todo if batch.answers[index] is None])
            await batch.wait()
            todo, batch.again = batch.again, []
            if todo:
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _find(self, batch: Batch, index: int) -> None:
        """Look a resend up in the store: its key may be older than what Redis remembers."""
        draft = batch.drafts[index]
        since = int(self._clock() * 1000) - self._config.dedupe_days * _DAY_MILLISECONDS
        found = await self._store.find(draft.sender, draft.key, since)
        if found is None:
            return
        self.appender.keys.put((draft.sender, draft.key), known_key(found.channel, found.place))
        if found.channel != draft.channel:
            batch.answers[index] = KEY_REUSED
        else:
            self.appender.duplicates += 1
            batch.answers[index] = Published(found.place, duplicate=True)

    def _finished(self, batch: Batch, started: float) -> list[Published | Refused]:
        self._append_latency.observe(trio.current_time() - started, len(batch.drafts))
        return batch.result()

    async def _patience_loop(self) -> None:
        """Let nobody wait much longer than `broker.publish_seconds`; one loop costs less than a deadline each."""
        patience = self._config.publish_seconds
        while True:
            self._about_now = trio.current_time()
            await trio.sleep(patience / 10)
            begun_before = trio.current_time() - 1.1 * patience  # what was begun a round later counts from this one
            for batch in [batch for batch, since in self._batches.items() if since <= begun_before]:
                batch.give_up()

    # Reading.

    async def recover(
        self, channel: ChannelName, since: tuple[Epoch, Seq] | None, join: Callable[[], None]
    ) -> Recovery:
        """Return what came after `since`, and call `join` at exactly that point of the channel.

        Raises:
            StoreError: Redis or the store cannot be read; `join` was not called.
        """
        limit = self._settings.limits.recover_messages
        with unavailable():
            if self._heads.rules(channel).delivery == "member":
                head, last = await self._heads.look(channel)
                return await self._reader.recover(head, last, since, limit, join)
            hearing = await self._feeds.hear(channel)
            try:
                return await self._reader.join_feed(self._feeds, self._heads, hearing, since, limit, join)
            finally:
                hearing.waiting -= 1

    async def history(
        self, channel: ChannelName, *, before: Seq | None, after: Seq | None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel, in rising seq.

        Raises:
            StoreError: Redis or the store cannot be read.
        """
        with unavailable():
            head = await self._heads.open(channel)
            return await self._reader.page(head, before=before, after=after, limit=limit)

    async def forget(self, channel: ChannelName, sender: UserId, key: str) -> bool:
        """Empty the message of this sender and key, in Redis, on all nodes and in the store; its place stays.

        Returns False if it is not in the store yet, and must be asked for again.
        """
        with unavailable():
            head = await self._heads.open(channel)
            found = await self._store.find(sender, key, 0)
            if found is None or found.channel != channel:
                log = await self._missed.log(head, None, 10_000)
                return head.namespace.history == "none" or all((row.sender, row.key) != (sender, key) for row, _ in log)
            now = int(self._clock() * 1000)
            ended = msgspec.structs.replace(found, body=json_body({}), kind=EXPIRED_KIND, revised_at=now)
            await self._store.revise(ended)
            await self._missed.hide(head, ended, self._config.forget_seconds)
            return True

    async def members_version(self, channel: ChannelName) -> str:
        """Return the place of the newest change of a channel's members; empty if none is known.

        Raises:
            RedisError: Redis cannot be asked.
        """
        shards = self._servers.shards
        shard = shards.of(channel)
        version = await self._servers.call(shard, "GET", shards.key(shard, f"members:{channel}"))
        return "" if version is None else bytes(version).decode()

    def statistics(self) -> BrokerStatistics:
        """Return counts for /metrics."""
        appender = self.appender
        return BrokerStatistics(
            published=appender.published,
            duplicates=appender.duplicates,
            open_channels=len(self._heads),
            waiting=appender.waiting,
        )

    def many_nodes_statistics(self) -> ManyNodesStatistics:
        """Return more counts for /metrics."""
        feeds, arrivals = self._feeds, self.arrivals
        return ManyNodesStatistics(
            feeds=len(feeds.known),
            pending=self._leftovers.pending,
            leftovers=self._leftovers.finished,
            fills=feeds.fills + arrivals.fills,
            filled=feeds.filled + arrivals.filled,
            losses=feeds.losses,
            posted=self._poster.posted,
            append=self._append_latency,
            lag=feeds.lag,
        )
