"""Two real nodes over Redis and Cassandra: one is killed while it takes messages, again and again."""

from functools import partial
from typing import Any

import httpx
import pytest
import trio

from tests.rig.cassandra import Keyspace
from tests.rig.redis import RedisServer
from tests.system.conftest import StartNode, start_cluster
from tests.system.process import NodeProcess, Settings
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

DIRECT = "dm:alice:bob"
KILLS = 2
IN_FLIGHT = 20


def settings(redis: RedisServer, keyspace: Keyspace) -> Settings:
    """Return what both nodes run with."""
    return {
        "broker.kind": "redis",
        "redis.servers": [redis.address],
        "store.kind": "cassandra",
        "cassandra.nodes": [keyspace.host],
        "cassandra.port": keyspace.port,
        "cassandra.keyspace": keyspace.name,
        "cassandra.replication_factor": 1,
        "broker.leftover_seconds": 0.5,
        "auth.hash_memory_kib": 8,
        "cluster.heartbeat_seconds": 0.3,
        "cluster.lease_seconds": 1.5,
        "server.drain_seconds": 0.3,
        "limits.messages_per_second": 100_000.0,
        "limits.messages_burst": 100_000,
        "limits.commands_per_second": 100_000.0,
        "limits.commands_burst": 100_000,
        "limits.connects_burst": 1000,
    }


async def write(device: Wire, waiting: dict[str, int], acked: dict[str, int], first: int, *, retry: bool) -> None:
    """Send what waits, then more, until the connection ends; note what is acknowledged."""
    ids: dict[int, str] = {}
    number = first
    for key in waiting:
        ids[await device.tell(type="send", channel=DIRECT, key=key, data={}, retry=retry)] = key
    while True:
        while len(ids) < IN_FLIGHT:
            key = f"key-{number}"
            number += 1
            waiting[key] = number
            ids[await device.tell(type="send", channel=DIRECT, key=key, data={})] = key
        event = await device.hear()
        if event.get("id") in ids:
            key = ids.pop(event["id"])
            assert event["type"] == "sent", event
            acked[key] = event["seq"]
            del waiting[key]


async def read(device: Wire, seen: list[dict[str, Any]]) -> None:
    """Note every message."""
    while True:
        event = await device.hear()
        if event["type"] == "message":
            seen.append(event)


async def test_a_node_killed_under_load_loses_nothing_that_it_acknowledged(
    start_node: StartNode, redis_server: RedisServer, cassandra: Keyspace
) -> None:
    dying, staying = start_cluster(start_node, settings(redis_server, cassandra), 2)
    async with httpx.AsyncClient(base_url=staying.http_url, timeout=30) as http:
        for user in ("alice", "bob"):
            answer = await http.post("/v1/auth/register", json={"name": user, "password": "correct horse battery"})
            assert answer.is_success, answer.text
    waiting: dict[str, int] = {}
    acked: dict[str, int] = {}
    seen: list[dict[str, Any]] = []
    async with wire(staying) as bob, trio.open_nursery() as nursery:
        await bob.enter(staying.token("bob"))
        nursery.start_soon(read, bob, seen)
        for life in range(KILLS + 1):
            before = len(acked)
            async with wire(dying) as alice, trio.open_nursery() as writing:
                await alice.enter(dying.token("alice"))
                writing.start_soon(partial(write, alice, waiting, acked, life * 100_000, retry=life > 0))
                with trio.fail_after(30):
                    while len(acked) < before + 100:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                if life < KILLS:
                    dying.kill()
                writing.cancel_scope.cancel()
            if life < KILLS:
                await trio.to_thread.run_sync(dying.start)
        with trio.fail_after(30):
            while not acked.keys() <= {event["key"] for event in seen}:  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    seqs = [event["seq"] for event in seen]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "a reader that stayed missed or repeated something"
    assert len({event["key"] for event in seen}) == len(seen), "a message was placed twice"
    places = {event["key"]: event["seq"] for event in seen}
    assert {key: places[key] for key in acked} == acked
    stored = await history(staying)
    assert stored[: len(seqs)] == seqs


async def history(node: NodeProcess) -> list[int]:
    """Read the seqs of all that is kept."""
    seqs: list[int] = []
    async with wire(node) as device:
        await device.enter(node.token("bob", device="tablet"))
        after = 0
        while True:
            page = await device.ask(type="history", channel=DIRECT, after=after, limit=200)
            seqs += [message["seq"] for message in page["messages"]]
            if not page["messages"]:
                return seqs
            after = seqs[-1]
