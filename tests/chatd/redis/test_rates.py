"""Rates in Redis: nodes count together, keys end, and a node counts alone while Redis is away."""

import time

import pytest

from chatd.limits import Policy
from chatd.rates import MemoryRates
from chatd.redis.rates import RedisRates
from tests.conftest import StartRedis
from tests.rig.cluster import running_servers
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system

SLOW = Policy("slow", 0.001, 3)
DAY = Policy("day", 0.0, 5)


def alone() -> MemoryRates:
    return MemoryRates(100, time.monotonic, time.time)


async def test_nodes_count_together_and_every_key_ends(redis_server: RedisServer) -> None:
    async with running_servers(redis_server) as one, running_servers(redis_server) as other:
        first, second = RedisRates(one, alone()), RedisRates(other, alone())
        await first.take_all([SLOW, DAY], "a", 2)
        standings = await second.take_all([SLOW, DAY], "a", 1)
        assert [standing.left for standing in standings] == [0, 2]
        keys = [
            key
            for shard in range(one.shards.count)
            for key in await one.call(shard, "KEYS", one.shards.key(shard, "rates:*"))
        ]
        lives = [await one.call(0, "PTTL", key) for key in set(keys)]
    assert len(lives) == 2
    assert all(0 < life <= 86_400_000 for life in lives)


async def test_a_node_counts_alone_while_redis_does_not_answer(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_servers(server) as servers:
        rates = RedisRates(servers, alone())
        await rates.take(SLOW, "a", 2)
        server.pause()
        standings = [await rates.take(SLOW, "a") for _ in range(4)]
        server.resume()
    assert [standing.left for standing in standings] == [2, 1, 0, 0]
    assert [bool(standing.wait) for standing in standings] == [False, False, False, True]
