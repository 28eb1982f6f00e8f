"""Who lives: leases that lapse, claims, and a Redis that was away."""

import pytest
import trio

from chatd.cluster import NodeId
from chatd.cluster.leases import SHARD, lease_keys
from tests.conftest import StartRedis
from tests.rig.cluster import CLUSTER, Member, running_member, until
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system

LEASE_MS = int(CLUSTER.lease_seconds * 1000)


async def let_lapse(member: Member, node: NodeId) -> None:
    """Let the lease of a node end now, as time does."""
    await member.servers.call(SHARD, "ZADD", lease_keys(member.servers)[0], 1, node)


async def test_exactly_one_node_clears_up_after_one_whose_lease_lapsed(redis_server: RedisServer) -> None:
    async with (
        running_member(redis_server, "one") as one,
        running_member(redis_server, "two") as two,
        running_member(redis_server, "three") as three,
    ):
        for member in (one, two, three):
            await member.leases.beat()
        await two.leases.beat()
        assert two.leases.nodes == sorted([one.node, two.node, three.node])
        await let_lapse(one, one.node)
        assert [await two.leases.beat(), await three.leases.beat(), await two.leases.beat()] == [[one.node], [], []]
        assert two.leases.nodes == sorted([two.node, three.node])


async def test_a_claim_that_is_not_finished_goes_to_another_node(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.leases.beat()
        await two.leases.beat()
        await let_lapse(one, one.node)
        assert await two.leases.beat() == [one.node]
        await two.servers.call(SHARD, "ZADD", lease_keys(two.servers)[2], 1, one.node)  # its claim ran out
        assert await two.leases.beat() == [one.node]


async def test_a_living_node_that_was_taken_for_dead_begins_anew(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.leases.beat()
        await two.leases.beat()
        before = one.node
        await let_lapse(two, one.node)
        assert await two.leases.beat() == [before]
        await one.leases.beat()
        assert one.node != before
        await two.leases.beat()
        assert two.leases.nodes == sorted([one.node, two.node])


async def test_nobody_is_taken_for_dead_while_nobody_could_beat(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_member(server, "one") as one, running_member(server, "two") as two:
        await one.leases.beat()
        await two.leases.beat()
        server.pause()
        await trio.sleep(1.5 * CLUSTER.lease_seconds)
        server.resume()
        assert await two.leases.beat() == []
        nodes = (one.node, two.node)
        await one.leases.beat()
        assert (one.node, two.node) == nodes


async def test_a_node_that_leaves_is_cleared_up_after_at_once(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.leases.beat()
        await two.leases.beat()
        await one.leases.leave()
        assert await two.leases.beat() == [one.node]
        assert two.leases.nodes == [two.node]


async def test_the_loop_clears_up_and_forgets_the_node_then(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.leases.beat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.leases.run)
            await until(lambda: len(two.leases.nodes) == 2)
            await until(lambda: two.cleared == [one.node])
            with redis_server.client() as client:
                await until(lambda: not client.exists(lease_keys(two.servers)[2]))
            nursery.cancel_scope.cancel()


async def test_works_of_the_cluster_have_one_node_each(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.leases.beat()
        await two.leases.beat()
        await one.leases.beat()
        assert [one.leases.is_mine(number) + two.leases.is_mine(number) for number in range(16)] == [1] * 16
        assert one.leases.is_mine(0) != one.leases.is_mine(1)


async def test_a_redis_that_lost_its_memory_makes_a_node_begin_anew(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_member(server, "one") as one:
        await one.leases.beat()
        before = one.node
        server.restart()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.leases.run)
            await until(lambda: one.node != before)
            await until(lambda: one.leases.nodes == [one.node])
            nursery.cancel_scope.cancel()
