"""Member channels between two brokers: one message a node, in order, and what post lost is read."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from chatd.broker import Draft
from protocol.names import ChannelName, UserId
from storage.records import Role
from storage.sqlite import open_sqlite
from tests.rig.broker import Desk, draft
from tests.rig.cluster import until
from tests.rig.redis import RedisServer
from tests.rig.redis_broker import RedisNode, Street, redis_config, redis_node

pytestmark = pytest.mark.system

GROUP = ChannelName("group:crew")
MEMBERS = [UserId(name) for name in ("alice", "bob", "carol", "dave")]


def to_members(key: str, sender: str = "alice", audience: Sequence[UserId] = MEMBERS) -> Draft:
    """Make a draft for the group."""
    return msgspec.structs.replace(draft(key, GROUP, sender=sender), audience=audience)


@asynccontextmanager
async def two_nodes(
    path: Path, server: RedisServer, homes: dict[UserId, str], groups: Sequence[ChannelName] = (GROUP,), **keys: Any
) -> AsyncIterator[tuple[RedisNode, RedisNode, Street]]:
    """Run two brokers with the groups' members on them."""
    street = Street(homes)
    config = redis_config(server.address, **{"hole_seconds": 0.02, **keys})
    async with open_sqlite(path / "chatd.sqlite3") as store:
        for group in groups:
            await store.create_channel(group, dict.fromkeys(MEMBERS, Role.MEMBER), 1)
        async with (
            redis_node(store, config, channels=[], street=street, name="one") as one,
            redis_node(store, config, channels=[], street=street, name="two") as two,
        ):
            yield one, two, street


HOMES = {UserId("alice"): "one", UserId("bob"): "two", UserId("carol"): "two"}


async def test_each_node_with_members_gets_a_message_once_and_no_other(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with two_nodes(tmp_path, redis_server, HOMES) as (one, two, street):
        await one.desk.placed(*(to_members(f"k{number}") for number in range(5)))
        await one.desk.heard(5)
        await two.desk.heard(5)
        assert street.sent == 10
        assert one.desk.seqs(GROUP) == two.desk.seqs(GROUP) == [1, 2, 3, 4, 5]
        assert {tuple(routed.audience) for routed in one.desk.drafts} == {("alice",)}
        assert {tuple(routed.audience) for routed in two.desk.drafts} == {("bob", "carol")}
        street.homes = {UserId("alice"): "one"}
        await two.desk.placed(to_members("k5", "dave"))
        await one.desk.heard(6)
        assert len(two.desk.delivered) == 5


async def test_writers_on_both_nodes_are_read_in_one_order(redis_server: RedisServer, tmp_path: Path) -> None:
    async with two_nodes(tmp_path, redis_server, HOMES) as (one, two, _):

        async def write(desk: Desk, sender: str) -> None:
            for number in range(50):
                await desk.placed(to_members(f"{number}", sender))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, one.desk, "alice")
            nursery.start_soon(write, two.desk, "bob")
            nursery.start_soon(write, two.desk, "carol")
        await one.desk.heard(150)
        await two.desk.heard(150)
        assert one.desk.seqs(GROUP) == two.desk.seqs(GROUP) == list(range(1, 151))


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [2, 0, 1]])
async def test_a_nodes_first_message_of_a_channel_may_have_overtaken_others(
    redis_server: RedisServer, tmp_path: Path, order: list[int]
) -> None:
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}) as (one, two, street):
        street.homes = {}
        await one.desk.placed(to_members("before"))
        await until(lambda: one.broker.many_nodes_statistics().posted == 1)
        street.homes, street.kept = {UserId("bob"): "two"}, []
        await one.desk.placed(*(to_members(f"k{number}") for number in range(3)))
        await until(lambda: street.kept is not None and len(street.kept) == 3)
        street.deliver(order)
        await two.desk.heard(3)
        assert two.desk.seqs(GROUP)[-3:] == [2, 3, 4]


async def test_what_was_overtaken_does_not_wait_once_it_comes(redis_server: RedisServer, tmp_path: Path) -> None:
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}, hole_seconds=60) as (one, two, street):
        await one.desk.placed(to_members("first"))
        await two.desk.heard(1)
        street.kept = []
        await one.desk.placed(*(to_members(f"k{number}") for number in range(4)))
        await until(lambda: street.kept is not None and len(street.kept) == 4)
        street.deliver([3, 2, 1, 0])
        await two.desk.heard(5)
        assert two.desk.seqs(GROUP) == [1, 2, 3, 4, 5]
        assert two.broker.many_nodes_statistics().fills == 0


async def test_what_was_overtaken_is_put_right_and_what_is_lost_is_read(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}) as (one, two, street):
        await one.desk.placed(to_members("first"))
        await two.desk.heard(1)
        street.kept = []
        await one.desk.placed(*(to_members(f"k{number}") for number in range(4)))
        with trio.fail_after(5):
            while len(street.kept) < 4:  # noqa: ASYNC110
                await trio.sleep(0.001)
        street.deliver([1, 0, 3])  # the third is lost, the first comes late
        await two.desk.heard(5)
        assert two.desk.seqs(GROUP) == [1, 2, 3, 4, 5]
        assert set(two.desk.drafts[3].audience) == set(MEMBERS)  # read: whoever of them is here


@pytest.mark.parametrize("was_active", [True, False])
async def test_after_lost_post_the_channels_of_users_here_are_looked_at(
    redis_server: RedisServer, tmp_path: Path, was_active: bool
) -> None:
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}) as (one, two, street):
        if was_active:
            await one.desk.placed(to_members("first"))
            await two.desk.heard(1)
        street.drops = True
        await one.desk.placed(*(to_members(f"k{number}") for number in range(4)))
        with trio.fail_after(5):
            while street.sent < 4 + was_active:  # noqa: ASYNC110
                await trio.sleep(0.001)
        two.broker.arrivals.lost()
        await two.desk.heard(4 + was_active)
        assert two.desk.seqs(GROUP) == list(range(1, 5 + was_active))


async def test_after_lost_post_all_channels_of_a_user_are_looked_at(redis_server: RedisServer, tmp_path: Path) -> None:
    channels = [ChannelName(f"group:crew{number}") for number in range(120)]  # more than one page of memberships
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}, channels) as (one, two, street):
        street.drops = True
        await one.desk.placed(*(msgspec.structs.replace(to_members(channel), channel=channel) for channel in channels))
        await until(lambda: street.sent == len(channels))
        two.broker.arrivals.lost()
        await two.desk.heard(len(channels))
        assert {message.channel for message in two.desk.delivered} == set(channels)


async def test_a_dead_nodes_message_reaches_the_members(redis_server: RedisServer, tmp_path: Path) -> None:
    async with two_nodes(tmp_path, redis_server, {UserId("bob"): "two"}, leftover_seconds=0.3) as (one, two, _):
        one.broker.appender.post = lambda rows: None  # it dies before it posts
        await one.desk.placed(to_members("k"))
        one.broker.appender.under_way.clear()
        await two.desk.heard(1)
        assert two.desk.seqs(GROUP) == [1]
