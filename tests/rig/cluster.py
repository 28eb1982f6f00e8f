"""Parts of a cluster around a real Redis, in the test's own process."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import trio

from chatd.accounts.tokens import Tokens
from chatd.cluster import NodeId
from chatd.cluster.cluster import ClusterNode
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.leases import Leases
from chatd.cluster.post import Post
from chatd.cluster.presence import ClusterPresence
from chatd.cluster.registry import Registry
from chatd.cluster.whereabouts import Change
from chatd.config import Cluster, Config, Namespace, Presence, Redis
from chatd.counters import Counters
from chatd.hub import Hub
from chatd.presence.tracker import PresenceEvent
from chatd.redis.servers import Servers
from chatd.settings import Settings
from protocol.messages import PresenceChanged
from protocol.names import UserId
from storage import Store
from tests.rig.redis import RedisCluster, RedisServer

PATIENCE_SECONDS = 10.0

CLUSTER = Cluster(heartbeat_seconds=0.1, lease_seconds=1.0, claim_seconds=5.0, register_seconds=1.0)
REDIS = Redis(connect_seconds=5.0, reply_seconds=2.0)


class Member:
    """One node as others see it: an incarnation with its registry, its post and its lease."""

    def __init__(self, servers: Servers, name: str, cluster: Cluster, grace_seconds: float) -> None:
        self.servers = servers
        self.cluster = cluster
        self.incarnation = Incarnation(name)
        self.registry = Registry(cluster, servers, self.incarnation, lambda: grace_seconds)
        self.post = Post(cluster, servers, self.incarnation)
        self.changes: list[Change] = []
        self.registry.whereabouts.on_changes.append(self.changes.extend)
        self.cleared: list[NodeId] = []
        self.leases = Leases(cluster, servers, self.incarnation, lambda: b"{}", self.clear_up)
        self.clear_up_too: Callable[[NodeId], Awaitable[None]] | None = None

    @property
    def node(self) -> NodeId:
        """The incarnation that it is now."""
        return self.incarnation.node

    async def clear_up(self, node: NodeId) -> None:
        """Note after whom this node is to clear up."""
        self.cleared.append(node)
        if self.clear_up_too is not None:
            await self.clear_up_too(node)

    async def say(self, sign: str, *users: str) -> None:
        """Say something of users, and wait until it is in Redis."""
        for user in users:
            self.registry.say(UserId(user), sign)
        for user in users:
            await self.registry.settled(UserId(user))

    def told(self) -> list[tuple[str, str]]:
        """Return what is to be shown of users, as this node heard it."""
        return [(change.user, change.shown) for change in self.changes if change.is_told]

    async def heard(self, told: list[tuple[str, str]]) -> None:
        """Wait until exactly this was heard."""
        await until(lambda: len(self.told()) >= len(told))
        assert self.told() == told


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so."""
    with trio.fail_after(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.002)


@asynccontextmanager
async def running_servers(server: RedisServer | RedisCluster) -> AsyncIterator[Servers]:
    """Connect to a Redis server, or to a Redis Cluster."""
    if isinstance(server, RedisCluster):
        config = msgspec.structs.replace(REDIS, kind="cluster", servers=tuple(server.addresses))
    else:
        config = msgspec.structs.replace(REDIS, servers=(server.address,))
    servers = Servers(config, "test")
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        await servers.start()
        yield servers
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_member(
    server: RedisServer, name: str, cluster: Cluster = CLUSTER, grace_seconds: float = 0.2
) -> AsyncIterator[Member]:
    """Run the registry and the post of one node; its lease is the test's business."""
    async with running_servers(server) as servers, trio.open_nursery() as nursery:
        member = Member(servers, name, cluster, grace_seconds)
        member.registry.whereabouts.listen()
        member.post.listen()
        nursery.start_soon(member.registry.run)
        nursery.start_soon(member.post.run)
        with trio.fail_after(PATIENCE_SECONDS):
            await member.post.wait_open()
        yield member
        nursery.cancel_scope.cancel()


class Site:
    """A whole `ClusterNode` with a hub of its own, what it tells its readers, and a store in memory."""

    def __init__(self, servers: Servers, name: str, config: Config) -> None:
        self.settings = Settings(config)
        self.hub = Hub(self.settings, Counters(), time.time)
        self.tokens = Tokens(bytes(32), config.auth, time.time)
        self.store = LastSeenStore()
        self.events: list[PresenceEvent] = []
        self.watched: set[str] = set()  # users that somebody here watches
        named = msgspec.structs.replace(config, cluster=msgspec.structs.replace(config.cluster, node=name))
        self.cluster = ClusterNode(named, servers, self.hub, self.tokens, cast(Store, self.store), self.events.append)
        self.cluster.presence._is_watched = lambda channel: channel.partition(":")[2] in self.watched

    @property
    def presence(self) -> ClusterPresence:
        """The tracker."""
        return self.cluster.presence

    def told(self) -> list[tuple[str, str]]:
        """Return what those who watch users here were told of them."""
        return [(event.user, event.state) for event in self.events if isinstance(event, PresenceChanged)]

    async def states(self, *users: str) -> list[str]:
        """Return what is shown of users."""
        return [state.state for state in await self.presence.states([UserId(user) for user in users])]

    async def come(self, *users: str) -> None:
        """Let a session of each user come, and wait until all nodes know."""
        for user in users:
            self.presence.session_opened(UserId(user), f"{user} here")
        for user in users:
            await self.cluster.settle(UserId(user))

    async def go(self, *users: str) -> None:
        """Let these sessions end, and wait until all nodes know."""
        for user in users:
            self.presence.session_closed(UserId(user), f"{user} here")
        for user in users:
            await self.cluster.settle(UserId(user))


class LastSeenStore:
    """Keeps last seen in memory."""

    def __init__(self) -> None:
        self.seen: dict[UserId, int] = {}

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        """Keep them."""
        await trio.lowlevel.checkpoint()
        self.seen.update(seen)

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """Return them."""
        await trio.lowlevel.checkpoint()
        return {user: self.seen[user] for user in users if user in self.seen}


PRESENCE = Presence(grace_seconds=0.3, tick_seconds=0.05, list_users=3, last_seen_save_seconds=0.1)
SITE = Config(
    presence=PRESENCE,
    cluster=CLUSTER,
    namespaces={"club": Namespace(presence="list"), "room": Namespace(presence="count")},
)


@asynccontextmanager
async def running_site(server: RedisServer | RedisCluster, name: str, config: Config = SITE) -> AsyncIterator[Site]:
    """Run a node of a cluster; leaving the block without `stop` is a crash to the others."""
    async with running_servers(server) as servers:
        site = Site(servers, name, config)
        await site.cluster.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.cluster.run)
            nursery.start_soon(site.cluster.presence.run)
            yield site
            nursery.cancel_scope.cancel()
