"""Two real nodes on every kind of Redis: what is sent on one is read, recovered and seen on the other."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartRedis
from tests.fakes.certificate import make_certificate
from tests.rig.redis import RedisCluster, RedisServer
from tests.rig.sentinel import NAME, running_sentinel
from tests.system.conftest import StartNode, start_cluster
from tests.system.process import NodeProcess, Settings
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

ROOMS = [f"room:{number}" for number in range(12)]
DIRECT = "dm:alice:bob"

Kind = tuple[Settings, list[RedisServer]]


@pytest.fixture(params=["a Redis Cluster", "Sentinel", "TLS and a password", "two independent servers"])
def redis_kind(request: pytest.FixtureRequest, start_redis: StartRedis, tmp_path: Path) -> Iterator[Kind]:
    """Return what nodes must know of the Redis servers, and the servers."""
    if request.param == "Sentinel":
        server = start_redis()
        with running_sentinel(tmp_path, server) as sentinel:
            yield {"redis.kind": "sentinel", "redis.servers": [sentinel], "redis.sentinel_name": NAME}, [server]
        return
    yield _plain_kind(request, start_redis, tmp_path)


def _plain_kind(request: pytest.FixtureRequest, start_redis: StartRedis, tmp_path: Path) -> Kind:
    if request.param == "a Redis Cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        return {"redis.kind": "cluster", "redis.servers": cluster.addresses[:1]}, cluster.nodes
    if request.param == "two independent servers":
        servers = [start_redis(), start_redis()]
        return {"redis.servers": [server.address for server in servers]}, servers
    certificate, key = make_certificate(tmp_path)
    server = start_redis(certificate=(certificate, key), password="open sesame")
    return {
        "redis.servers": [server.address],
        "redis.password": server.password,
        "redis.tls.enabled": True,
        "redis.tls.authority": certificate,
    }, [server]


def start_two(start_node: StartNode, redis: Settings) -> list[NodeProcess]:
    """Start two nodes that take each other's tokens. Each has a store of its own: what is read comes from Redis."""
    shared = redis | {
        "broker.kind": "redis",
        "server.drain_seconds": 0.1,
        "websocket.close_seconds": 0.3,
        "presence.grace_seconds": 0.3,
        "auth.hash_memory_kib": 8,
        "limits.messages_burst": 1000,
    }
    return start_cluster(start_node, shared, 2)


async def next_of(device: Wire, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the next event that is wanted; others are passed over."""
    while not wanted(event := await device.hear()):
        pass
    return event


async def test_two_nodes_are_one_server_on_every_kind_of_redis(start_node: StartNode, redis_kind: Kind) -> None:
    settings, servers = redis_kind
    one, two = start_two(start_node, settings)
    async with httpx.AsyncClient(timeout=30) as http:
        for node, user in product((one, two), ("alice", "bob")):
            account = {"name": user, "password": "correct horse battery"}
            assert (await http.post(f"{node.http_url}/v1/auth/register", json=account)).is_success
    cursors: dict[str, list[Any]] = {}
    async with wire(one) as alice:
        await alice.enter(one.token("alice"))
        async with wire(two) as bob:
            await bob.enter(two.token("bob"))
            watched = await bob.ask(type="presence", users=["alice"])
            assert [user["state"] for user in watched["users"]] == ["online"]
            assert (await bob.ask(type="subscribe", channel="presence:alice"))["type"] == "subscribed"
            for room in ROOMS:
                joined = await bob.ask(type="subscribe", channel=room)
                cursors[room] = [joined["epoch"], joined["seq"] + 1]
                sent = await alice.ask(type="send", channel=room, key=f"{room}-first", data={"n": 1})
                assert sent["type"] == "sent", sent
                assert (sent["epoch"], sent["seq"]) == (joined["epoch"], joined["seq"] + 1)
                event = await next_of(bob, lambda event: event["type"] == "message")
                assert (event["channel"], event["seq"], event["data"]) == (room, sent["seq"], {"n": 1})
            sent = await alice.ask(type="send", channel=DIRECT, key="direct", data={"n": 2})
            event = await next_of(bob, lambda event: event["type"] == "message")
            assert (event["channel"], event["seq"]) == (DIRECT, sent["seq"])
        for room in ROOMS:
            await alice.ask(type="send", channel=room, key=f"{room}-second", data={"n": 3})
        async with wire(one) as bob:
            await bob.enter(one.token("bob"))
            for room in ROOMS:
                joined = await bob.ask(type="subscribe", channel=room, since=cursors[room])
                assert joined.get("recovered"), joined
                assert [message["data"] for message in joined["messages"]] == [{"n": 3}]
    async with wire(two) as bob:
        await bob.enter(two.token("bob"))
        assert (await bob.ask(type="subscribe", channel="presence:alice"))["type"] == "subscribed"
        if [user["state"] for user in (await bob.ask(type="presence", users=["alice"]))["users"]] == ["online"]:
            gone = await next_of(bob, lambda event: event["type"] == "presence_changed")
            assert (gone["user"], gone["state"]) == ("alice", "offline")
        page = await bob.ask(type="history", channel=ROOMS[0], limit=10)
        assert [message["data"] for message in page["messages"]] == [{"n": 1}, {"n": 3}]
    for server in servers:
        with server.client() as client:
            assert list(client.scan_iter("chatd:*log:room:*")), "a server has no part in it"
