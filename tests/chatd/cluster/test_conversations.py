"""A user with very many conversations costs a node, and Redis, what a user with few does."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from chatd.config import Config
from protocol.names import ChannelName, UserId
from storage.records import Role
from tests.rig.node import Rig, running_node
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system


class Held(NamedTuple):
    """What is held for everybody who is here, by the node and in Redis."""

    heard: int
    subscriptions: int
    open_channels: int
    keys: set[str]


async def held_with(conversations: int, folder: Path, redis: RedisServer) -> Held:
    """Let a user come who has so many conversations, on a node of a cluster, hear from one, and come back."""
    redis.flush()
    config = Config()
    config = msgspec.structs.replace(
        config,
        broker=msgspec.structs.replace(config.broker, kind="redis"),
        redis=msgspec.structs.replace(config.redis, servers=(redis.address,)),
        cluster=msgspec.structs.replace(config.cluster, node="here"),
    )
    async with running_node(folder, config) as rig:
        await rig.register("alice", "bob")
        members = {UserId("alice"): Role.OWNER, UserId("bob"): Role.MEMBER}
        for number in range(conversations):
            await rig.store.create_channel(ChannelName(f"group:g{number}"), members, 1)
        bob = await rig.enter("bob")
        for device in ("phone", "tablet"):
            alice = await rig.enter("alice", device=device)
            sent = await bob.ask(type="send", channel="group:g0", key=device, data={})
            assert sent["type"] == "sent", sent
            assert (await alice.hear())["channel"] == "group:g0"
        return _held(rig, redis)


def new_folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def _held(rig: Rig, redis: RedisServer) -> Held:
    node = rig.node
    assert node.cluster is not None
    with redis.client() as client:
        keys = {key for key in client.scan_iter("*users*") if not key.endswith(":leaving")}
    return Held(
        node.cluster.servers.statistics().pubsub_channels,
        node.hub.statistics().subscriptions,
        node.broker.statistics().open_channels,
        {key.partition("}:")[2].partition(".")[0] for key in keys},
    )


async def test_a_hundred_times_the_conversations_hold_nothing_more(tmp_path: Path, redis_server: RedisServer) -> None:
    few = await held_with(3, new_folder(tmp_path, "few"), redis_server)
    many = await held_with(300, new_folder(tmp_path, "many"), redis_server)
    assert many == few
    assert few.open_channels == 1
