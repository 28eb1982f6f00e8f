"""Parts of a cluster around a real Redis, in the test's own process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from chatd.cluster import NodeId
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.leases import Leases
from chatd.cluster.post import Post
from chatd.cluster.registry import Registry
from chatd.cluster.whereabouts import Change
from chatd.config import Cluster, Redis
from chatd.redis.servers import Servers
from protocol.names import UserId
from tests.rig.redis import RedisServer

PATIENCE_SECONDS = 10.0

CLUSTER = Cluster(heartbeat_seconds=0.05, lease_seconds=0.4, claim_seconds=1.0, register_seconds=1.0)
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
async def running_servers(server: RedisServer, config: Redis = REDIS) -> AsyncIterator[Servers]:
    """Connect to a Redis server."""
    servers = Servers(msgspec.structs.replace(config, servers=(server.address,)), "test")
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
