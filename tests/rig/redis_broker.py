"""Brokers on a real Redis, with a desk in the place of the router; several of them may share Redis and a store."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from time import time

import msgspec
import trio

from chatd.broker.posting import Alone, Cluster
from chatd.broker.redis import Local, RedisBroker
from chatd.config import Config, Redis
from chatd.counters import Latency
from chatd.redis.servers import Servers
from chatd.settings import Settings
from protocol.names import ChannelName, UserId
from storage import Store
from storage.records import StoredMessage
from tests.rig.broker import DURABLE, OTHER, PASSING, RECENT, Desk, rules, small_config


def redis_config(*addresses: str, **keys: object) -> Config:
    """Return a small configuration for these servers; `keys` are of its table `broker`."""
    config = small_config(kind="redis", **keys)
    return msgspec.structs.replace(config, redis=Redis(servers=addresses, shards=8, reply_seconds=1.0))


class RedisNode:
    """One node's broker and its connections, as far as tests look into them."""

    def __init__(self, desk: Desk, broker: RedisBroker, servers: Servers) -> None:
        self.desk = desk
        self.broker = broker
        self.servers = servers
        self.lost: list[ChannelName] = []


async def _nobody(_: ChannelName) -> Collection[UserId]:
    return ()


@asynccontextmanager
async def redis_node(
    store: Store,
    config: Config,
    *,
    channels: Collection[ChannelName] = (DURABLE, OTHER, RECENT, PASSING),
    cluster: Cluster | None = None,
) -> AsyncIterator[RedisNode]:
    """Run a broker whose desk reads these channels. At the end of the block it is stopped in good order."""
    desk = Desk()
    lost: list[ChannelName] = []

    def arriving(_: StoredMessage) -> None:
        pass

    local = Local(desk.deliver, desk.in_use.__contains__, lost.append, _nobody, lambda: (), arriving)
    servers = Servers(config.redis, "test")
    members = cluster or Alone()
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        await servers.start()
        broker = RedisBroker(servers, store, Settings(config), rules, local, members, time, Latency())
        desk.broker = broker
        if isinstance(members, Alone):
            members.take = broker.arrivals.take
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
