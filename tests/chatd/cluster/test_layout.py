"""Nodes that would look for the same channels in different places do not run at the same time."""

import msgspec
import pytest
import trio

from chatd.cluster.leases import lease_keys
from chatd.config import ConfigError, Redis
from chatd.redis.servers import Servers
from tests.rig.cluster import REDIS, SITE, Site, running_site
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system


async def check(redis: Redis) -> None:
    """Check the layout of a node that begins with this configuration."""
    servers = Servers(redis, "test")
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        await servers.start()
        try:
            await Site(servers, "late", msgspec.structs.replace(SITE, redis=redis)).cluster.check_layout()
        finally:
            nursery.cancel_scope.cancel()


async def test_a_node_with_another_layout_than_those_that_live_is_refused(redis_server: RedisServer) -> None:
    same = msgspec.structs.replace(REDIS, servers=(redis_server.address,))
    other = msgspec.structs.replace(same, shards=64)
    another_name = redis_server.address.replace("127.0.0.1", "localhost")
    renamed = msgspec.structs.replace(same, servers=(another_name,))
    elsewhere = msgspec.structs.replace(same, servers=(redis_server.address, another_name))
    await check(other)
    async with running_site(redis_server, "one"):
        await check(same)
        await check(renamed)
        for wrong in (other, elsewhere):
            with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=r"redis\.shards, redis\.servers: one\.")):
                await check(wrong)


async def test_a_node_that_died_or_says_nothing_that_can_be_read_is_not_asked(redis_server: RedisServer) -> None:
    same = msgspec.structs.replace(REDIS, servers=(redis_server.address,))
    async with running_site(redis_server, "dead") as site:
        leases, info, _ = lease_keys(site.cluster.servers)
        node = site.cluster.incarnation.node
    with redis_server.client() as client:
        assert client.hexists(info, node)
        client.zadd(leases, {node: 1, "strange": "+inf"})
        client.hset(info, "strange", "{}")
    await check(msgspec.structs.replace(same, shards=64))
