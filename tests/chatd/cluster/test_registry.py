"""Who is where: what nodes say of their users, and what others find, in a real Redis."""

from contextlib import AsyncExitStack

import msgspec
import pytest
import trio

from chatd.cluster import PARTS
from chatd.cluster.registry import IDLE, IN_USE, NONE_LEFT
from chatd.cluster.whereabouts import ABSENT
from chatd.redis import RedisUnavailable
from protocol.names import UserId
from tests.conftest import StartRedis
from tests.rig.cluster import CLUSTER, running_member, until
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system

ALICE, BOB = UserId("alice"), UserId("bob")
MANY = [UserId(f"user{number}") for number in range(1000)]


async def test_users_are_found_on_the_nodes_that_say_so(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.say(IN_USE, ALICE, BOB)
        await two.say(IN_USE, BOB)
        for member in (one, two):
            found = await member.registry.nodes_of([ALICE, BOB, UserId("nobody")])
            assert found == {one.node: [ALICE, BOB], two.node: [BOB]}
        await one.say(NONE_LEFT, ALICE, BOB)
        await until(lambda: two.registry.whereabouts.known(ALICE) not in (None,) and len(two.changes) == 5)
        assert await two.registry.nodes_of([ALICE, BOB]) == {two.node: [BOB]}


async def test_what_was_found_once_is_not_asked_again_and_stays_true(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        assert await two.registry.nodes_of(MANY) == {}
        lookups = two.registry.whereabouts.lookups
        assert lookups == len(MANY)
        await one.say(IN_USE, *MANY)
        await until(lambda: len(two.changes) == len(MANY))
        assert {node: set(users) for node, users in (await two.registry.nodes_of(MANY)).items()} == {
            one.node: set(MANY)
        }
        assert two.registry.whereabouts.lookups == lookups


async def test_a_storm_goes_in_few_batches(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one:
        await one.say(IN_USE, *MANY)
        assert one.registry.batches <= 2
        for user in MANY:
            one.registry.say(user, NONE_LEFT)
            one.registry.say(user, IN_USE)
        await one.registry.settled(MANY[-1])
        await until(lambda: not one.registry.waiting)
        assert len(one.told()) == len(MANY)


async def test_a_user_on_two_nodes_is_shown_by_both_together(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        await one.say(IN_USE, ALICE)
        await one.say(IDLE, ALICE)
        await two.say(IN_USE, ALICE)
        await two.say(IDLE, ALICE)
        await two.say(NONE_LEFT, ALICE)
        await one.say(IN_USE, ALICE)
        await one.heard([(ALICE, "o"), (ALICE, "a"), (ALICE, "o"), (ALICE, "a"), (ALICE, "o")])
        assert two.told() == one.told()


async def test_saying_it_again_changes_nothing(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one:
        await one.say(IN_USE, ALICE)
        await one.say(NONE_LEFT, BOB)
        one.registry.say_all()
        await one.registry.settled(ALICE)
        await one.say(IDLE, ALICE)
        await one.heard([(ALICE, "o"), (ALICE, "a")])
        assert len(one.changes) == 2


async def test_no_more_is_remembered_than_configured(redis_server: RedisServer) -> None:
    small = msgspec.structs.replace(CLUSTER, known_users=2 * PARTS)
    async with running_member(redis_server, "one", small) as one:
        await one.registry.nodes_of(MANY)
        assert one.registry.whereabouts.remembered() == 2 * PARTS


async def test_what_is_read_while_changes_are_not_heard_is_not_kept(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_member(server, "one") as one:
        await one.registry.nodes_of([ALICE])
        assert one.registry.whereabouts.known(ALICE) == ABSENT
        with server.client() as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: one.registry.whereabouts.known(ALICE) is None)
        await one.say(IN_USE, ALICE)
        assert await one.registry.nodes_of([ALICE]) == {one.node: [ALICE]}


async def test_what_could_not_be_said_is_said_when_redis_comes_back(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_member(server, "one") as one:
        await one.say(IN_USE, ALICE)
        server.kill()
        one.registry.say(BOB, IN_USE)
        with pytest.raises(RedisUnavailable):
            await one.registry.settled(BOB)
        server.start()
        await until(lambda: not one.registry.waiting)
        one.registry.say_all()
        await until(lambda: not one.registry.waiting)
        await one.servers.wait_up(0)
        assert await one.registry.nodes_of([ALICE, BOB]) == {one.node: [ALICE, BOB]}


async def test_a_node_that_was_taken_for_dead_begins_anew_and_says_everything_again(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one:
        await one.say(IN_USE, ALICE, BOB)
        before = one.node
        for part in range(PARTS):
            await one.servers.call(part, "SET", one.servers.shards.key(part, f"dead:{before}"), 1)
        one.registry.say(UserId("carol"), IN_USE)
        await until(lambda: one.node != before)
        await one.registry.settled(ALICE)
        await one.registry.settled(BOB)
        found = await one.registry.nodes_of([ALICE, BOB, UserId("carol")])
        assert found[one.node] == [ALICE, BOB, "carol"]


async def test_an_answer_that_a_change_overtook_is_not_believed(redis_server: RedisServer) -> None:
    """The reply to a read is held back while a change that was made after it is heard."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running_member(redis_server, "one"))
        two = await stack.enter_async_context(running_member(redis_server, "two"))
        where = two.registry.whereabouts
        part = where._parts[where.part(ALICE)]
        part.asking[ALICE] += 1  # as if a read were under way
        await one.say(IN_USE, ALICE)
        await until(lambda: ALICE in part.crossed)
        version, known = part.crossed[ALICE]
        assert (known.nodes, known.shown) == ((one.node,), "o")
        assert version >= 1
        found = await where.find([ALICE])
        assert found[ALICE].nodes == (one.node,)
        with trio.move_on_after(0):
            await where.find([BOB])
        assert BOB not in part.asking
