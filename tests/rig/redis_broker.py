"""Brokers on a real Redis, with a desk in the place of the router; several of them may share Redis and a store."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time

import msgspec
import trio

from chatd.broker.redis import Local, RedisBroker
from chatd.config import Config, Redis
from chatd.counters import Latency
from chatd.redis.servers import Servers
from chatd.settings import Settings
from protocol.names import ChannelName, UserId
from storage import Store
from storage.records import StoredMessage
from tests.rig.broker import DURABLE, OTHER, PASSING, RECENT, Desk, rules, small_config


def redis_config(*addresses: str, reply_seconds: float = 5.0, **keys: object) -> Config:
    """Return a small configuration for these servers; `keys` are of its table `broker`.

    Who cuts `reply_seconds` short may be told on a busy machine that a Redis which is only slow cannot be reached.
    """
    config = small_config(kind="redis", **keys)
    return msgspec.structs.replace(config, redis=Redis(servers=addresses, shards=8, reply_seconds=reply_seconds))


class RedisNode:
    """One node's broker and its connections, as far as tests look into them."""

    def __init__(self, desk: Desk, broker: RedisBroker, servers: Servers) -> None:
        self.desk = desk
        self.broker = broker
        self.servers = servers
        self.lost: list[ChannelName] = []


class Street:
    """The other nodes as a test wants them: who is where, and what becomes of post."""

    def __init__(self, homes: Mapping[UserId, str]) -> None:
        self.homes = homes
        self.takers: dict[str, Callable[[bytes], None]] = {}
        self.sent = 0
        self.drops = False
        self.kept: list[tuple[str, bytes]] | None = None
        """Post that waits for `deliver`, if it is to wait."""

    async def nodes_of(self, users: Collection[UserId]) -> Mapping[str, Sequence[UserId]]:
        """Return where the users are."""
        nodes: dict[str, list[UserId]] = {}
        for user in users:
            if user in self.homes:
                nodes.setdefault(self.homes[user], []).append(user)
        await trio.lowlevel.checkpoint()
        return nodes

    def send(self, node: str, payload: bytes) -> None:
        """Take it to the node, or not."""
        self.sent += 1
        if self.drops:
            return
        if self.kept is not None:
            self.kept.append((node, payload))
        else:
            self.takers[node](payload)

    def deliver(self, order: Sequence[int]) -> None:
        """Take what waits to the nodes, in this order."""
        kept, self.kept = self.kept or [], None
        for index in order:
            node, payload = kept[index]
            self.takers[node](payload)


@asynccontextmanager
async def redis_node(
    store: Store,
    config: Config,
    *,
    channels: Collection[ChannelName] = (DURABLE, OTHER, RECENT, PASSING),
    street: Street | None = None,
    name: str = "one",
    make_servers: Callable[[Redis, str], Servers] = Servers,
) -> AsyncIterator[RedisNode]:
    """Run a broker whose desk reads these channels. At the end of the block it is stopped in good order."""
    desk = Desk()
    lost: list[ChannelName] = []
    street = street or Street({})

    async def audience(channel: ChannelName) -> Collection[UserId]:
        return await store.members(channel)

    def arriving(_: StoredMessage) -> None:
        pass

    def users_here() -> Collection[UserId]:
        return [user for user, home in street.homes.items() if home == name]

    local = Local(desk.deliver, desk.in_use.__contains__, lost.append, audience, users_here, arriving)
    servers = make_servers(config.redis, name)
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        await servers.start()
        broker = RedisBroker(servers, store, Settings(config), rules, local, street, time, Latency())
        desk.broker = broker
        street.takers[name] = broker.arrivals.take
        await broker.start()
        nursery.start_soon(broker.run)
        desk.in_use.update(channels)
        for channel in channels:
            await broker.recover(channel, None, lambda: None)
        node = RedisNode(desk, broker, servers)
        node.lost = lost
        yield node
        nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await broker.stop()
