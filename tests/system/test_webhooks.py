"""Webhooks of a real node that is stopped and killed: nothing queued is lost, and each departure is told once."""

from pathlib import Path

import pytest
import trio

from tests.rig.redis import RedisServer
from tests.rig.webhook_receiver import SECRET, Receiver, Reply, open_receiver
from tests.system.conftest import StartNode
from tests.system.process import NodeProcess, chatd
from tests.system.wire import wire

pytestmark = pytest.mark.system

CONFIG = """
[server]
drain_seconds = 0
[websocket]
close_seconds = 0.1
[presence]
grace_seconds = 0.5
tick_seconds = 0.1
[webhooks]
backoff_seconds = 0.1
poll_seconds = 0.1
[webhooks.endpoints.main]
url = "{url}"
events = ["session.connected", "session.disconnected", "user.offline", "message.published"]
namespaces = ["dm", "room"]
secret_files = ["{secret}"]
allow_private = true
timeout_seconds = 1.0
concurrency = 2
"""


def secret_file(folder: Path) -> Path:
    file = folder / "hook.secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return file


async def start(start_node: StartNode, folder: Path, url: str) -> NodeProcess:
    config = CONFIG.format(url=url, secret=secret_file(folder))
    return await trio.to_thread.run_sync(lambda: start_node(config=config))


def departures(receiver: Receiver) -> list[tuple[str, str]]:
    """Return who was told to be offline, and why. A request that came again, with its id, tells nothing new."""
    told = {event["id"]: event["data"] for event in receiver.of_type("user.offline")}
    return [(data["user"], data["reason"]) for data in told.values()]


async def restart(node: NodeProcess, *, kill: bool) -> None:
    await trio.to_thread.run_sync(node.kill if kill else node.stop)
    await trio.to_thread.run_sync(node.start)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
async def test_who_was_there_and_did_not_come_back_is_offline_once(
    start_node: StartNode, tmp_path: Path, kill: bool
) -> None:
    async with open_receiver() as receiver:
        node = await start(start_node, tmp_path, receiver.url)
        async with wire(node) as alice, wire(node) as bob:
            await alice.enter(node.token("alice"))
            await bob.enter(node.token("bob"))
            await receiver.wait_for(lambda: len(receiver.of_type("session.connected")) == 2)
            await restart(node, kill=kill)
        async with wire(node) as bob:
            await bob.enter(node.token("bob"))  # in time
            await receiver.wait_for(lambda: receiver.of_type("user.offline"))
            await restart(node, kill=kill)
        await receiver.wait_for(lambda: len(departures(receiver)) == 2)
        await restart(node, kill=kill)
        async with wire(node) as carl:
            await carl.enter(node.token("carl"))
        await receiver.wait_for(lambda: len(departures(receiver)) == 3)
        assert departures(receiver) == [("alice", "restarted"), ("bob", "restarted"), ("carl", "lost")]


async def test_what_an_endpoint_did_not_take_is_there_after_a_kill_in_its_order(
    start_node: StartNode, tmp_path: Path
) -> None:
    async with open_receiver() as receiver:
        receiver.answer = lambda _: Reply(503)
        node = await start(start_node, tmp_path, receiver.url)
        async with wire(node) as alice:
            await alice.enter(node.token("alice"))
            for number in range(10):
                sent = await alice.ask(type="send", channel="dm:alice:alice2", key=f"k{number}", data={"n": number})
                assert sent["type"] == "error"  # there is no such account: nothing is told of what was not published
            await receiver.wait_for(lambda: receiver.requests)
            refused = {request.id for request in receiver.requests}
            await trio.to_thread.run_sync(node.kill)
        receiver.answer = lambda _: Reply()
        await trio.to_thread.run_sync(node.start)
        await receiver.wait_for(lambda: receiver.of_type("user.offline"))
        taken = [request for request in receiver.requests if request.id in refused]
        assert len(taken) > len(refused)  # it came again, with its id
        mine = list(dict.fromkeys(event["type"] for event in receiver.events))
        assert mine == ["session.connected", "user.offline"]


async def test_dead_letters_are_listed_and_replayed_from_the_command_line_while_the_node_serves(
    start_node: StartNode, tmp_path: Path
) -> None:
    async with open_receiver() as receiver:
        receiver.script.append(Reply(410))
        node = await start(start_node, tmp_path, receiver.url)

        async def command(*arguments: str) -> str:
            settings: dict[str, object] = {"server.var": node.directory / "var"}
            done = await trio.to_thread.run_sync(
                lambda: chatd(node.directory, "webhooks", *arguments, settings=settings)
            )
            return f"{done.returncode} {done.stdout}{done.stderr}"

        async with wire(node) as alice:
            await alice.enter(node.token("alice"))
            await trio.to_thread.run_sync(node.wait_for_log, "webhook endpoint is gone")
            assert "GONE" in await command("list")
            letters = await command("dead", "main", "--body")
            assert receiver.requests[0].id in letters
            assert "session.connected" in letters
            assert "status 204" in await command("test", "main")
            assert (await command("enable", "main")).startswith("0 main is enabled")
            assert (await command("replay", "main", "--all")).startswith("0 1 will be sent again")
            await restart(node, kill=False)  # instead of waiting until it looks
            await receiver.wait_for(lambda: len([r for r in receiver.requests if r.id == receiver.requests[0].id]) == 2)
            assert "1 chatd: there is no endpoint 'other'" in await command("dead", "other")
            assert (await command("replay", "main")).startswith("2 ")


async def test_nodes_that_share_redis_tell_everything_once_also_when_one_is_killed(
    start_node: StartNode, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with open_receiver() as receiver:
        config = CONFIG.format(url=receiver.url, secret=secret_file(tmp_path))
        cluster: dict[str, object] = {
            "broker.kind": "redis",
            "redis.servers": [redis_server.address],
            "cluster.heartbeat_seconds": 0.2,
            "cluster.lease_seconds": 1.0,
        }
        nodes: list[NodeProcess] = []
        for name in ("stays", "dies"):
            node = start_node(cluster | {"cluster.node": name}, config, start=False)
            await trio.to_thread.run_sync(node.start)
            nodes.append(node)
        stays, dies = nodes
        async with wire(stays) as alice, wire(dies) as bob, wire(dies) as carl:
            await alice.enter(stays.token("alice"))
            await bob.enter(dies.token("bob"))
            await carl.enter(dies.token("carl"))
            await receiver.wait_for(lambda: len(receiver.of_type("session.connected")) == 3)
            for reader in (alice, bob):
                await reader.ask(type="subscribe", channel="room:one")
            for number in range(3):
                await carl.ask(type="send", channel="room:one", key=f"k{number}", data={"n": number})
            carl.reset()
            await receiver.wait_for(lambda: len(departures(receiver)) == 1)
            await trio.to_thread.run_sync(dies.kill)
            await receiver.wait_for(lambda: len(departures(receiver)) == 2)
            alice.reset()
            await receiver.wait_for(lambda: len(departures(receiver)) == 3)
        assert [user for user, _ in departures(receiver)] == ["carl", "bob", "alice"]
        assert departures(receiver)[1:] == [("bob", "lost"), ("alice", "lost")]
        told = {event["id"]: event["data"] for event in receiver.of_type("message.published")}
        assert [data["data"]["n"] for data in told.values()] == [0, 1, 2]
