"""Presence over many nodes, with a real Redis: users, departures, channels, and a node that dies."""

import msgspec
import pytest
import trio

from chatd.presence import Readers
from protocol.messages import Count, Joined, Left, UserState
from protocol.names import ChannelName, UserId
from storage import StoreUnavailable
from tests.conftest import StartRedis
from tests.rig.cluster import PRESENCE, SITE, Site, running_site, until
from tests.rig.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.system

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
CLUB, ROOM = ChannelName("club:one"), ChannelName("room:one")


async def test_a_user_is_shown_by_all_sessions_on_all_nodes(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        one.watched = two.watched = {ALICE}
        await one.come(ALICE)
        await two.come(ALICE)
        one.presence.status(ALICE, "alice here", "away")
        await one.cluster.settle(ALICE)
        assert await two.states(ALICE) == ["online"]
        two.presence.status(ALICE, "alice here", "away")
        await two.cluster.settle(ALICE)
        await until(lambda: two.told() == [(ALICE, "online"), (ALICE, "away")])
        await two.go(ALICE)
        await one.go(ALICE)
        await until(lambda: len(one.told()) >= 3 and len(two.told()) >= 3)
        for site in (one, two):
            assert site.told() == [(ALICE, "online"), (ALICE, "away"), (ALICE, "offline")]
            assert await site.states(ALICE, BOB) == ["offline", "offline"]


async def test_who_moves_to_another_node_within_the_grace_time_is_not_seen_to_blink(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        one.watched = two.watched = {ALICE, BOB}
        await one.come(ALICE, BOB)
        await one.go(ALICE, BOB)
        await two.come(ALICE)
        await until(lambda: (BOB, "offline") in one.told())
        assert sorted(one.told()) == [(ALICE, "online"), (BOB, "offline"), (BOB, "online")]
        assert await one.states(ALICE) == ["online"]


async def test_each_departure_is_told_to_one_node_as_the_one_to_act_on_it(redis_server: RedisServer) -> None:
    users = [UserId(f"user{number}") for number in range(300)]
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        departed: list[UserState] = []
        for site in (one, two):
            site.presence.on_departed.append(departed.append)
        await one.come(*users)
        await one.go(*users)
        await until(lambda: len(departed) >= len(users))
        await trio.sleep(3 * PRESENCE.tick_seconds)
        assert sorted(state.user for state in departed) == sorted(users)
        assert all(state.last_seen for state in departed)


async def test_what_the_store_says_of_last_seen_is_asked_once(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one:
        one.store.seen[ALICE] = 1234
        for _ in range(2):
            assert await one.presence.states([ALICE]) == [UserState(user=ALICE, state="offline", last_seen=1234)]
            one.store.seen.clear()


async def test_the_users_of_a_node_that_died_are_gone_unless_they_came_back(redis_server: RedisServer) -> None:
    users = [UserId(f"user{number}") for number in range(200)]
    async with running_site(redis_server, "one") as one:
        one.watched = set(users)
        async with running_site(redis_server, "two") as two:
            await two.come(*users)
            await enter(one, CLUB, ALICE)
            await enter(two, CLUB, *users[:2])
            await until(lambda: Joined(channel=CLUB, user=users[1]) in one.events)
            dead = two.cluster.incarnation.node
        back = users[:50]
        await one.come(*back)
        await until(lambda: one.cluster.leases.nodes == [one.cluster.incarnation.node])
        await until(lambda: len(one.told()) == 200 + 150)
        assert {user for user, state in one.told() if state == "offline"} == set(users[50:])
        assert set(await one.states(*back)) == {"online"}
        assert set(await one.states(*users[50:])) == {"offline"}
        await until(lambda: Left(channel=CLUB, user=users[0]) in one.events)
        assert await one.presence.readers(CLUB) == Readers(1, [ALICE])
        with redis_server.client() as client:
            left: list[str] = [str(key) for key in client.keys(f"*{dead}*")]
        assert all(":dead:" in key for key in left)


async def test_a_node_that_leaves_takes_its_users_with_it_at_once(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one:
        one.watched = {ALICE}
        async with running_site(redis_server, "two") as two:
            await two.come(ALICE)
            await two.cluster.stop()
            await until(lambda: (ALICE, "offline") in one.told())
            assert two.cluster.incarnation.node not in one.cluster.leases.nodes


async def enter(site: Site, channel: ChannelName, *users: str) -> None:
    """Let users read a channel, and let the others know of it."""
    for user in users:
        site.presence.channel_entered(channel, UserId(user))
    await site.presence.readers(channel)


async def test_a_channel_is_listed_and_counted_over_all_nodes(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        await enter(one, CLUB, ALICE)
        await enter(one, ROOM, ALICE)
        assert await one.presence.readers(CLUB) == Readers(1, [ALICE])
        assert await one.presence.readers(ROOM) == Readers(1, None)
        assert await two.presence.readers(ROOM) == Readers(1, None)
        await enter(two, CLUB, ALICE, BOB)
        await enter(two, ROOM, ALICE, BOB)
        await until(lambda: Joined(channel=CLUB, user=BOB) in one.events)
        await until(lambda: Count(channel=ROOM, count=2) in one.events)
        two.presence.channel_left(CLUB, ALICE)
        two.presence.channel_left(CLUB, BOB)
        await until(lambda: Left(channel=CLUB, user=BOB) in one.events)
        assert Left(channel=CLUB, user=ALICE) not in one.events
        assert await one.presence.readers(CLUB) == Readers(1, [ALICE])
        assert await two.presence.readers(CLUB) == Readers(1, [ALICE])
        assert await two.presence.readers(ChannelName("club:empty")) == Readers(0, [])


async def test_a_channel_that_grows_too_large_counts_and_is_listed_again_when_it_shrinks(
    redis_server: RedisServer,
) -> None:
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        await enter(one, CLUB, ALICE, BOB)
        await enter(two, CLUB, CAROL)
        await until(lambda: Joined(channel=CLUB, user=CAROL) in one.events)
        await enter(two, CLUB, "dave")
        await until(lambda: Count(channel=CLUB, count=4) in one.events)
        assert await one.presence.readers(CLUB) == Readers(4, None)
        two.presence.channel_left(CLUB, UserId("dave"))
        await until(lambda: Count(channel=CLUB, count=3) in one.events)
        readers = await one.presence.readers(CLUB)
        assert (readers.count, sorted(readers.users or [])) == (3, [ALICE, BOB, CAROL])
        one.events.clear()
        two.presence.channel_left(CLUB, CAROL)
        await until(lambda: one.events)
        assert one.events == [Left(channel=CLUB, user=CAROL)]


async def test_what_a_lost_message_would_have_said_is_read_again(redis_server: RedisServer) -> None:
    async with running_site(redis_server, "one") as one, running_site(redis_server, "two") as two:
        await enter(one, CLUB, ALICE)
        await one.presence.readers(CLUB)
        one.cluster.post.handle("readers", lambda sender, payload: None)  # as if they were lost
        await enter(two, CLUB, BOB)
        await two.presence.readers(CLUB)
        one.cluster.readership._checked = -1000.0
        await until(lambda: Joined(channel=CLUB, user=BOB) in one.events)


async def test_everything_is_said_again_when_redis_comes_back_without_its_data(start_redis: StartRedis) -> None:
    server = start_redis()
    patient = msgspec.structs.replace(
        SITE,
        cluster=msgspec.structs.replace(SITE.cluster, lease_seconds=60.0),
        presence=msgspec.structs.replace(SITE.presence, grace_seconds=60.0),
    )
    async with running_site(server, "one", patient) as one, running_site(server, "two", patient) as two:
        one.watched = {ALICE, BOB}
        await one.come(ALICE)
        await two.come(BOB)
        await enter(one, CLUB, ALICE)
        await enter(two, CLUB, BOB)
        await until(lambda: Joined(channel=CLUB, user=BOB) in one.events)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await one.presence.states([ALICE, CAROL])
        server.start()

        async def is_whole() -> bool:
            try:
                readers = await one.presence.readers(CLUB)
                return await one.states(ALICE, BOB) == ["online"] * 2 and readers.count == 2
            except StoreUnavailable:
                return False

        with trio.fail_after(10):
            while not await is_whole():  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert (ALICE, "offline") not in one.told()
        assert (BOB, "offline") not in one.told()


async def test_all_of_it_works_on_a_redis_cluster(redis_cluster: RedisCluster) -> None:
    users = [UserId(f"user{number}") for number in range(64)]  # in every part, so on every server
    async with running_site(redis_cluster, "one") as one:
        one.watched = set(users)
        async with running_site(redis_cluster, "two") as two:
            for number, user in enumerate(users):
                await enter(one, ChannelName(f"club:{number}"), ALICE)
                await enter(two, ChannelName(f"club:{number}"), user)
            await two.come(*users)
            assert await one.states(*users) == ["online"] * len(users)
            await until(lambda: sum(isinstance(event, Joined) for event in one.events) == 2 * len(users))
            await two.cluster.stop()
        await until(lambda: len(one.told()) == 2 * len(users))
        assert await one.states(*users) == ["offline"] * len(users)
        await until(lambda: sum(isinstance(event, Left) for event in one.events) == len(users))
