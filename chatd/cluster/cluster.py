"""One node among others: its lease, its registry, its post, and presence over all nodes."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog
import trio

from chatd import __version__
from chatd.accounts.tokens import Tokens
from chatd.cluster import NodeId
from chatd.cluster.calls import call_all, raise_first, run_all
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.leases import SHARD, Leases, lease_keys
from chatd.cluster.post import Post, PostFull
from chatd.cluster.presence import ClusterPresence
from chatd.cluster.readership import Readership
from chatd.cluster.reads import ReadTelling
from chatd.cluster.registry import Registry
from chatd.cluster.remote import Remote
from chatd.cluster.steadily import steadily
from chatd.config import Config, ConfigError
from chatd.hub import Hub
from chatd.presence.tracker import PublishPresence
from chatd.rates import MemoryRates, Rates
from chatd.redis import RedisError
from chatd.redis.jobs import RedisJobs
from chatd.redis.rates import RedisRates
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from protocol.names import UserId
from storage import Store, StoreUnavailable

# How long a node that leaves waits for Redis to take what it has to say.
_LEAVE_SECONDS = 2.0

# How long it is kept that a node was taken for dead: longer than any process stands still and then goes on.
_DEAD_SECONDS = 86_400

# What messages between nodes are about that carry messages of member channels.
_MESSAGE = "message"

_log = structlog.get_logger("cluster")


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself with each beat; for people who look."""

    version: str
    address: str
    started_at: int
    at: int
    connections: int
    sessions: int
    users: int
    unsaid_users: int
    loop_lag_ms: float
    redis_ms: float
    layout: str = ""


@dataclass(frozen=True, slots=True)
class ClusterStatistics:
    """What this node knows now, and counts since the start."""

    nodes: int
    known_users: int
    lookups: int
    unsaid_users: int
    registry_batches: int
    post_sent: int
    post_unsent: int
    post_taken: int
    post_lost: int


class ClusterNode:
    """Every part of a cluster on this node. `start` must return before clients come."""

    def __init__(
        self, config: Config, servers: Servers, hub: Hub, tokens: Tokens, store: Store, publish: PublishPresence
    ) -> None:
        cluster = config.cluster
        self.unsent = 0  # messages of member channels for which there was no room
        self.address = ""
        self.incarnation = Incarnation(cluster.node)
        self.post = Post(cluster, servers, self.incarnation)
        self.registry = Registry(cluster, servers, self.incarnation, lambda: self._grace_seconds)
        self.leases = Leases(cluster, servers, self.incarnation, self._describe, self._clear_up)
        self.readership = Readership(
            config.presence, cluster, config.namespaces, servers, self.incarnation, self.post, publish
        )
        self.presence = ClusterPresence(
            config.presence,
            servers,
            self.registry,
            self.leases,
            self.readership,
            store,
            publish,
            hub.channels.__contains__,
        )
        self.remote = Remote(cluster, hub, tokens, self.incarnation, self.leases, self.post)
        self.servers = servers
        self.jobs = RedisJobs(servers, waiting=config.jobs.waiting, kept_dead=config.jobs.dead)
        self._layout = servers.layout
        self._cluster = cluster
        self._grace_seconds = config.presence.grace_seconds
        self._hub = hub
        self._started_at = _unix_ms()
        self._redis_seconds = 0.0
        self._apply = Script("presence_apply", 4)
        self._renewed = trio.Event()
        self._on_found_again: list[Callable[[], None]] = []
        self.incarnation.on_renewed.append(lambda _: self._renewed.set())

    def reload(self, config: Config) -> None:
        """Go on with another configuration."""
        self._grace_seconds = config.presence.grace_seconds
        self.presence.reload(config.presence, config.namespaces)

    async def check_layout(self) -> None:
        """Return if the nodes that live look for shards where this one does. The servers must be running.

        Raises:
            ConfigError: One does not: each of the two would number the same channels.
            RedisError: Redis does not answer.
        """
        leases, info, _ = lease_keys(self.servers)
        clock = await self.servers.call(SHARD, "TIME")
        now = int(clock[0]) * 1000 + int(clock[1]) // 1000
        for node in await self.servers.call(SHARD, "ZRANGEBYSCORE", leases, now, "+inf"):
            said = read_info(await self.servers.call(SHARD, "HGET", info, node) or b"")
            if said is not None and said.layout not in ("", self._layout):
                raise ConfigError(
                    f"redis.shards, redis.servers: {node.decode()} has {said.layout}, here they are {self._layout}; "
                    "they are the same on all nodes that run at a time"
                )

    async def start(self, address: str = "") -> None:
        """Take a lease, and hear the others. The servers must be running.

        Where Redis does not answer it begins when it does. `address` is where this node is, for people who look.
        """
        self.address = address
        self.registry.whereabouts.listen()
        self.post.listen()
        with trio.move_on_after(self.servers.config.reply_seconds) as waiting:
            await self.post.wait_open()
        if waiting.cancelled_caught:
            _log.warning("messages of other nodes are not heard yet")
        try:
            await self.leases.start()
        except RedisError as error:
            _log.warning("no lease yet", error=str(error))

    async def run(self) -> None:
        """Be one of the nodes, until cancelled. Presence has its own `run`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steadily, self.registry.run)
            nursery.start_soon(steadily, self.post.run)
            nursery.start_soon(steadily, self.leases.run)
            nursery.start_soon(steadily, self.remote.run)
            nursery.start_soon(steadily, self._measure)
            nursery.start_soon(steadily, self._look_back)

    async def stop(self) -> None:
        """Leave: what there is to say is said, then the lease ends, and others clear up at once."""
        with trio.move_on_after(_LEAVE_SECONDS, shield=True):
            try:
                while self.registry.waiting:
                    await self.registry.next_batch()
                await self.leases.leave()
            except RedisError as error:
                _log.warning("the lease could not be ended; it runs out", error=str(error))

    async def settle(self, user: UserId) -> None:
        """Return when all nodes send what they have for the user here.

        Raises:
            StoreUnavailable: They do not know, within `cluster.register_seconds`.
        """
        try:
            await self.registry.settled(user)
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error

    async def elsewhere(self, users: Sequence[UserId]) -> Collection[UserId]:
        """Return which of these users have sessions on other nodes; nobody while Redis is away."""
        try:
            found = await self.registry.whereabouts.find(users)
        except RedisError:
            return ()
        own = self.incarnation.node
        return {user for user, known in found.items() if any(node != own for node in known.nodes)}

    # What the broker asks for: see chatd/broker/posting.py.

    async def nodes_of(self, users: Collection[UserId]) -> Mapping[str, Sequence[UserId]]:
        """Return the nodes that hold sessions of these users, each with those it holds.

        Raises:
            RedisUnavailable: It cannot be said now.
        """
        return cast(Mapping[str, Sequence[UserId]], await self.registry.nodes_of(users))

    def send(self, node: str, payload: bytes) -> None:
        """Send a message of a member channel to a node. It may be lost; then the node knows that something was."""
        try:
            self.post.send(NodeId(node), _MESSAGE, payload)
        except PostFull:
            self.unsent += 1

    def take_messages(self, take: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Let `take` have the messages that nodes send here; `lost` is called when some may not have come."""
        self.post.handle(_MESSAGE, lambda _, payload: take(payload))
        self.post.on_lost.append(lambda _: lost())
        self._on_found_again.append(lost)

    def share_rates(self, here: MemoryRates) -> Rates:
        """Return rates that all nodes count together; `here` counts while Redis does not."""
        return RedisRates(self.servers, here)

    def read_telling(self, waiting: int) -> ReadTelling:
        """Return what tells sessions of all nodes who has read."""
        own = self.incarnation.node
        return ReadTelling(self._hub.deliver_to, self.nodes_of, own, self.post, waiting)

    def statistics(self) -> ClusterStatistics:
        """Return counts for /metrics."""
        whereabouts = self.registry.whereabouts
        return ClusterStatistics(
            nodes=len(self.leases.nodes),
            known_users=whereabouts.remembered(),
            lookups=whereabouts.lookups,
            unsaid_users=self.registry.waiting,
            registry_batches=self.registry.batches,
            post_sent=self.post.sent,
            post_unsent=self.unsent,
            post_taken=self.post.taken,
            post_lost=self.post.lost,
        )

    def _describe(self) -> bytes:
        statistics = self._hub.statistics()
        lag = self._hub.counters.lag
        info = NodeInfo(
            version=__version__,
            address=self.address,
            started_at=self._started_at,
            at=_unix_ms(),
            connections=statistics.connections,
            sessions=statistics.sessions,
            users=statistics.users,
            unsaid_users=self.registry.waiting,
            loop_lag_ms=round(1000 * lag.total_seconds / max(1, sum(lag.counts)), 3),
            redis_ms=round(1000 * self._redis_seconds, 3),
            layout=self._layout,
        )
        return msgspec.json.encode(info)

    async def _measure(self) -> None:
        """Measure how long Redis takes for an answer, and forget nodes that are gone."""
        while True:
            started = trio.current_time()
            try:
                await self.servers.call(0, "PING")
            except RedisError:
                pass  # whoever needs it says so
            else:
                self._redis_seconds = trio.current_time() - started
            self.post.forget(set(self.leases.nodes))
            await trio.sleep(self._cluster.heartbeat_seconds)

    async def _look_back(self) -> None:
        """When the users here can be found again, after nobody could: look for what went by meanwhile."""
        while True:
            await self._renewed.wait()
            self._renewed = trio.Event()
            while self.registry.waiting:
                await self.registry.next_batch()
            for tell in self._on_found_again:
                tell()

    async def _clear_up(self, node: NodeId) -> None:
        """Remove the sessions of a node that is dead, all at once: nobody is left, grace times begin.

        Raises:
            RedisError: Some are left; doing it again goes on.
        """
        parts = range(self.registry.whereabouts.parts)
        key = self.servers.shards.key
        marks = [(part, ("SET", key(part, f"dead:{node}"), 1, "EX", _DEAD_SECONDS)) for part in parts]
        raise_first(await call_all(self.servers, marks))
        left = list(parts)
        while left:
            reads = [(part, ("SRANDMEMBER", key(part, f"users:{node}"), self._cluster.batch_users)) for part in left]
            found = await call_all(self.servers, reads)
            raise_first(found)
            users = {part: [UserId(name.decode()) for name in names] for part, names in zip(left, found, strict=True)}
            left = [part for part in left if users[part]]
            calls = [(part, self.registry.arguments(part, node, users[part], None)) for part in left]
            raise_first(await run_all(self.servers, self._apply, calls))
        await self.readership.clear_up(node)


def open_servers(config: Config) -> Servers:
    """Return the servers that the nodes share; nothing is connected yet.

    Raises:
        ConfigError: The files that TLS needs cannot be read.
    """
    try:
        return Servers(config.redis, f"chatd-{Incarnation(config.cluster.node).name}")
    except OSError as error:
        raise ConfigError(f"redis.tls: {error}") from error


def read_info(text: bytes) -> NodeInfo | None:
    """Read what a node said of itself; None where that cannot be read: it is of another version."""
    try:
        return msgspec.json.decode(text, type=NodeInfo)
    except msgspec.DecodeError:
        return None


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
