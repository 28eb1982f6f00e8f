"""Real nodes that share a real Redis: presence when one is killed, sessions ended from another, status."""

import json
from collections import Counter
from typing import Any

import httpx
import pytest
import trio

from protocol.codes import CloseCode, ErrorCode
from protocol.names import ChannelName, UserId
from storage.records import Role
from storage.sqlite import open_sqlite
from tests.rig.redis import RedisServer
from tests.system.conftest import StartNode, start_cluster
from tests.system.process import NodeProcess, Settings, chatd, numbers
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

CLUSTER: Settings = {
    "broker.kind": "redis",
    "backend.key_refresh_seconds": 0.3,
    "cluster.heartbeat_seconds": 0.3,
    "cluster.lease_seconds": 1.5,
    "presence.grace_seconds": 1.0,
    "presence.tick_seconds": 0.1,
    "server.drain_seconds": 0.3,
    "websocket.close_seconds": 0.3,
    "limits.connects_burst": 5000,
    "limits.connects_per_second": 5000.0,
    "limits.connections_per_address": 5000,
    "limits.subscriptions": 2000,
    "limits.commands_burst": 5000,
    "limits.hello_seconds": 60.0,
}
EACH = 500


def settings(redis: RedisServer, **more: object) -> Settings:
    """Return the settings of one node of a cluster."""
    return CLUSTER | {"redis.servers": [redis.address]} | {key.replace("__", "."): value for key, value in more.items()}


def start_nodes(start_node: StartNode, redis: RedisServer, count: int, **more: object) -> list[NodeProcess]:
    """Start nodes that take each other's tokens; `more` as for `settings`."""
    return start_cluster(start_node, settings(redis, **more), count)


class Crowd:
    """Many users, each with one connection that is held open."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._limit = trio.CapacityLimiter(50)

    async def come(self, node: NodeProcess, users: list[str]) -> None:
        """Connect users, and return when all are in."""
        async with trio.open_nursery() as coming:
            for user in users:
                await coming.start(self._come_soon, node, user)

    async def _come_soon(self, node: NodeProcess, user: str, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async with self._limit:
            await self._nursery.start(self._hold, node, user)

    async def _hold(self, node: NodeProcess, user: str, task_status: trio.TaskStatus[None]) -> None:
        async with wire(node) as device:
            await device.enter(node.token(user))
            task_status.started()
            await trio.sleep_forever()


async def watch(device: Wire, users: list[str]) -> None:
    """Follow what is shown of users."""
    for user in users:
        await device.tell(type="subscribe", channel=f"presence:{user}")
    for _ in users:
        answer = await device.hear()
        assert answer["type"] == "subscribed", answer


async def states(device: Wire, users: list[str]) -> Counter[str]:
    """Return how many users are shown how."""
    return Counter(state["state"] for state in (await device.ask(type="presence", users=users))["users"])


async def changes(device: Wire, count: int) -> list[tuple[str, str]]:
    """Return the next changes of what is shown."""
    heard: list[tuple[str, str]] = []
    while len(heard) < count:
        event = await device.hear()
        assert event["type"] == "presence_changed", event
        heard.append((event["user"], event["state"]))
    return heard


async def test_when_a_node_is_killed_who_does_not_come_back_is_gone_once_and_nobody_else_blinks(
    start_node: StartNode, redis_server: RedisServer
) -> None:
    stays, dies = start_nodes(start_node, redis_server, 2)
    here = [f"here{number}" for number in range(EACH)]
    there = [f"there{number}" for number in range(EACH)]
    back, gone = there[: EACH // 2], there[EACH // 2 :]
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery)
        await crowd.come(stays, here)
        await crowd.come(dies, there)
        async with wire(stays) as watcher:
            await watcher.enter(stays.token("watcher"))
            await watch(watcher, here + there)
            assert await states(watcher, here + there) == {"online": 2 * EACH}
            dies.kill()
            await crowd.come(stays, back)
            told = await changes(watcher, len(gone))
            assert sorted(told) == sorted((user, "offline") for user in gone)
            assert await states(watcher, here + back) == {"online": EACH + len(back)}
            assert await states(watcher, gone) == {"offline": len(gone)}
            await trio.sleep(2.0)  # what should not come had the time to
            assert (await watcher.ask(type="ping"))["type"] == "ok"
        nursery.cancel_scope.cancel()


async def test_a_node_that_is_told_to_leave_takes_its_users_with_it_at_once(
    start_node: StartNode, redis_server: RedisServer
) -> None:
    stays, leaves = start_nodes(start_node, redis_server, 2)
    async with wire(stays) as watcher, wire(leaves) as alice:
        await watcher.enter(stays.token("watcher"))
        await alice.enter(leaves.token("alice"))
        await watch(watcher, ["alice"])
        assert await states(watcher, ["alice"]) == {"online": 1}
        await trio.to_thread.run_sync(leaves.stop)
        assert await changes(watcher, 1) == [("alice", "offline")]
        seen = _status(stays)
        assert [node["info"]["address"] for node in seen["nodes"]] == [stays.http_url]


async def test_a_channel_is_counted_over_all_nodes(start_node: StartNode, redis_server: RedisServer) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    async with wire(one) as alice, wire(two) as bob:
        for device, user, node in ((alice, "alice", one), (bob, "bob", two)):
            await device.enter(node.token(user))
            await device.ask(type="subscribe", channel="room:hall")
        for device in (alice, bob):
            while (await device.hear()) != {"type": "count", "channel": "room:hall", "count": 2}:
                pass
            assert (await device.ask(type="presence", channel="room:hall"))["count"] == 2


async def test_a_device_that_is_revoked_on_one_node_is_out_on_all(
    start_node: StartNode, redis_server: RedisServer
) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    async with httpx.AsyncClient(base_url=one.http_url) as http, wire(two) as alice, wire(two) as again:
        answer = await http.post("/v1/auth/register", json={"name": "alice", "password": "correct horse battery"})
        token = answer.json()["access_token"]
        await alice.enter(token)
        await http.post("/v1/auth/logout", headers={"Authorization": f"Bearer {token}"})
        assert await alice.close_code() == CloseCode.REVOKED
        await again.upgrade()
        assert (await again.ask(type="connect", token=token))["code"] == ErrorCode.REVOKED


async def test_who_reads_on_one_node_is_told_to_the_users_devices_on_the_others(
    start_node: StartNode, redis_server: RedisServer
) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    async with wire(one) as phone, wire(two) as desk:
        await phone.enter(one.token("bob"))
        await desk.enter(two.token("bob"))
        assert (await phone.ask(type="read", channel="user:bob", seq=7))["type"] == "ok"
        told = await desk.hear()
        assert {**told, "at": 0} == {"type": "read", "channel": "user:bob", "user": "bob", "seq": 7, "at": 0}


async def test_a_backend_reaches_sessions_on_every_node(start_node: StartNode, redis_server: RedisServer) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    made = chatd(one.directory, "key", "create", "backend", "--action", "*", settings=one.settings)
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with httpx.AsyncClient(base_url=f"{one.http_url}/v1/server", headers=headers) as http, wire(two) as alice:
        await alice.enter(two.token("alice"))
        while (await http.get("/sessions")).status_code == 401:
            pass  # nodes learn of new keys now and then
        listed = (await http.get("/sessions", params={"user": "alice"})).json()["sessions"]
        assert [session["user"] for session in listed] == ["alice"]
        assert (await http.post("/users/alice/subscribe", json={"channel": "room:hall"})).json() == {"count": 1}
        assert (await alice.hear())["type"] == "subscribed"
        assert (await http.post("/users/alice/unsubscribe", json={"channel": "room:hall"})).json() == {"count": 1}
        while (event := await alice.hear())["type"] == "count":
            pass
        assert (event["type"], event["channel"]) == ("unsubscribed", "room:hall")
        assert (await http.post("/users/alice/disconnect", json={})).json() == {"count": 1}
        assert await alice.close_code() == CloseCode.DISMISSED
        assert (await http.delete(f"/sessions/{listed[0]['session']}")).status_code == 404


async def test_a_backend_sees_the_channels_of_every_node(start_node: StartNode, redis_server: RedisServer) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    made = chatd(one.directory, "key", "create", "backend", "--action", "*", settings=one.settings)
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with (
        httpx.AsyncClient(base_url=f"{one.http_url}/v1/server", headers=headers) as http,
        wire(one) as alice,
        wire(two) as bob,
    ):
        await alice.enter(one.token("alice"))
        await bob.enter(two.token("bob"))
        for reader, names in ((alice, "ac"), (bob, "bcd")):
            for name in names:
                assert (await reader.ask(type="subscribe", channel=f"event:{name}"))["type"] == "subscribed"
        while (await http.get("/sessions")).status_code == 401:
            pass  # nodes learn of new keys now and then
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = (await http.get("/channels", params={"namespace": "event", "limit": 2, **cursor})).json()
            found += page["channels"]
            cursor = {"cursor": page["next"]} if page["next"] else None
        assert found == [
            {"channel": f"event:{name}", "sessions": count} for name, count in zip("abcd", (1, 1, 2, 1), strict=True)
        ]
        assert (await http.get("/channels/event:d")).json()["sessions"] == 1
        assert (await http.get("/channels/event:c")).json()["sessions"] == 2


async def test_a_user_has_one_rate_on_all_nodes(start_node: StartNode, redis_server: RedisServer) -> None:
    slow = {"limits__user_requests_per_second": 0.001, "limits__user_requests_burst": 3}
    one, two = start_nodes(start_node, redis_server, 2, **slow)
    headers = {"Authorization": f"Bearer {one.token('alice')}"}
    async with httpx.AsyncClient(headers=headers) as http:
        answers = [await http.get(f"{node.http_url}/v1/devices") for node in (one, two, one, two)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == ErrorCode.RATE_LIMITED


async def test_who_has_five_hundred_conversations_comes_as_cheaply_as_who_has_none(
    start_node: StartNode, redis_server: RedisServer
) -> None:
    """What a connect asks of Redis, and what the node keeps for it, are the same."""
    quiet = {
        "broker.leftover_seconds": 1000.0,
        "cluster.heartbeat_seconds": 100.0,
        "cluster.lease_seconds": 300.0,
        "presence.tick_seconds": 100.0,
    }
    node: NodeProcess = start_node(settings(redis_server) | quiet, start=False)
    (node.directory / "var").mkdir(mode=0o700)
    async with open_sqlite(node.directory / "var" / "chatd.sqlite3") as store:
        for number in range(500):
            members = {UserId("busy"): Role.OWNER, UserId(f"friend{number}"): Role.MEMBER}
            await store.create_channel(ChannelName(f"group:g{number}"), members, at=1)
    node.start()
    costs = {}
    async with wire(node) as http, wire(node) as first, wire(node) as calm, wire(node) as busy:
        await first.enter(node.token("first"))  # from now on Redis knows the scripts
        for device, user in ((calm, "calm"), (busy, "busy")):
            before = _calls(redis_server)
            await device.enter(node.token(user))
            found = numbers((await http.get("/metrics")).body.decode())
            after = {name: calls - before.get(name, 0) for name, calls in _calls(redis_server).items()}
            costs[user] = {name: calls for name, calls in after.items() if calls and name != "info"}
            assert found["chatd_broker_open_channels"] == 0
    assert costs["calm"]["evalsha"] == 1
    assert costs["busy"] == costs["calm"]


def _calls(server: RedisServer) -> dict[str, int]:
    """Return how often Redis ran each command."""
    with server.client() as client:
        found: dict[str, dict[str, int]] = client.info("commandstats")
    ignored = ("client", "hello", "ping")
    names = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
    return {name: calls for name, calls in names.items() if not name.startswith(ignored)}


async def test_the_status_shows_every_node_and_server(start_node: StartNode, redis_server: RedisServer) -> None:
    one, two = start_nodes(start_node, redis_server, 2)
    async with wire(one) as alice:
        await alice.enter(one.token("alice"))
        seen = _status(two)
        while sum(node["info"]["sessions"] for node in seen["nodes"]) != 1:  # as of the last beat
            seen = _status(two)
        assert {node["info"]["address"] for node in seen["nodes"]} == {one.http_url, two.http_url}
        assert seen["users"] == 1
        assert [(server["address"], server["shards"]) for server in seen["servers"]] == [(redis_server.address, 128)]
        table = chatd(one.directory, "cluster", "status", settings=settings(redis_server))
        assert "node0" in table.stdout
        assert redis_server.address in table.stdout
    alone = chatd(one.directory, "cluster", "status")
    assert (alone.returncode, alone.stderr) == (
        2,
        'chatd: broker.kind: is not "redis": this node has no cluster\n',
    )


def _status(node: NodeProcess) -> Any:
    """Return what `chatd cluster status --json` says."""
    done = chatd(node.directory, "cluster", "status", "--json", settings=node.settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
