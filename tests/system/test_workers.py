"""Several workers behind one port: one is killed, all are replaced, their numbers are summed, and what they need."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from client import Message, TokenKeeper, open_client, register
from tests.rig import installed, redis
from tests.rig.cassandra import CassandraServer
from tests.system.process import NodeProcess, Settings, chatd, numbers
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

WORKERS = 2
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cassandra_server: CassandraServer) -> Iterator[Settings]:
    """Return the settings of workers, with a Redis and a keyspace for the tests of this file."""
    installed.require(redis.PACKAGES, "Tests of workers")
    server = redis.RedisServer(tmp_path_factory.mktemp("redis"), launcher=redis.TIED).start()
    keyspace = cassandra_server.make_keyspace()
    yield {
        "broker.kind": "redis",
        "redis.servers": [server.address],
        "store.kind": "cassandra",
        "cassandra.nodes": [keyspace.host],
        "cassandra.port": keyspace.port,
        "cassandra.keyspace": keyspace.name,
        "cassandra.replication_factor": 1,
        "limits.connects_burst": 100_000,
        "auth.hash_memory_kib": 8,
        "cluster.heartbeat_seconds": 0.3,
        "cluster.lease_seconds": 1.5,
        "server.drain_seconds": 0.3,
        "websocket.close_seconds": 0.3,
    }
    cassandra_server.drop_keyspace(keyspace)
    server.stop()


def start(directory: Path, shared: Settings) -> NodeProcess:
    """Start a supervisor with its workers."""
    (directory / "config.toml").write_text("")
    return NodeProcess(directory, shared, ("--workers", str(WORKERS))).start()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, shared: Settings) -> Iterator[NodeProcess]:
    """Return a running supervisor with its workers, for all tests of this file."""
    node = start(tmp_path_factory.mktemp("machine"), shared)
    yield node
    node.stop()
    expected = re.compile(r"worker ended .*code=-9|workers not replaced .*no_such_key")
    assert [fault for fault in node.faults() if not expected.search(fault)] == []


def pids(machine: NodeProcess) -> set[int]:
    """Return the workers that run."""
    children = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def _running(workers: set[int]) -> set[int]:
    return {pid for pid in workers if Path(f"/proc/{pid}").exists()}


async def visit(machine: NodeProcess, user: str) -> str:
    """Connect once; return what the server answered."""
    async with wire(machine) as device:
        answer = await device.upgrade()
        assert answer.status == 101, answer
        return str((await device.ask(type="connect", token=machine.token(user)))["type"])


async def metrics(machine: NodeProcess) -> dict[str, float]:
    """Return the numbers of the machine, from whichever worker answers."""
    async with wire(machine) as http:
        return numbers((await http.get("/metrics")).body.decode())


async def enter(machine: NodeProcess, users: int, nursery: trio.Nursery) -> None:
    """Connect users, who stay."""

    async def stay(user: str, task_status: trio.TaskStatus[None]) -> None:
        async with wire(machine) as device:
            await device.enter(machine.token(user))
            task_status.started()
            await device.close_code()

    for number in range(users):
        await nursery.start(stay, f"user{number}")


async def test_workers_share_a_port_and_their_numbers_are_summed_wherever_one_asks(machine: NodeProcess) -> None:
    async with trio.open_nursery() as nursery:
        await enter(machine, 20, nursery)
        for _ in range(4):
            found = await metrics(machine)
            assert (found["chatd_workers"], found["chatd_sessions"], found["chatd_cluster_nodes"]) == (2, 20, 2)
        nursery.cancel_scope.cancel()


async def test_a_worker_that_is_killed_is_started_again_and_nobody_who_comes_is_refused(machine: NodeProcess) -> None:
    victim = min(pids(machine))
    os.kill(victim, signal.SIGKILL)
    for number in range(30):
        assert await visit(machine, f"user{number}") == "connected"
    line = await trio.to_thread.run_sync(machine.wait_for_log, "worker ended .*")
    assert f"pid={victim}" in line
    assert "code=-9" in line
    assert "restarts=1" in line
    while (await metrics(machine))["chatd_workers"] != WORKERS:
        pass  # it starts


async def test_a_conversation_goes_on_while_each_worker_is_killed(machine: NodeProcess) -> None:
    """Two clients of the reference client, wherever they come to: nothing is lost, repeated or out of order."""
    said: list[int] = list(range(60))
    heard: list[int] = []
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            alice_tokens, bob_tokens = [await register(machine.http_url, name, PASSWORD) for name in ("alice", "bob")]
            async with (
                open_client(machine.ws_url, token=TokenKeeper(machine.http_url, alice_tokens)) as alice,
                open_client(machine.ws_url, token=TokenKeeper(machine.http_url, bob_tokens)) as bob,
            ):

                async def write() -> None:
                    for number in said:
                        await alice.send("dm:alice:bob", {"number": number})
                        await trio.sleep(0.05)

                nursery.start_soon(write)
                victims = pids(machine)
                async for event in bob.events():
                    if isinstance(event, Message):
                        heard.append(event.data["number"])
                        if len(heard) % 20 == 10 and victims:
                            os.kill(victims.pop(), signal.SIGKILL)
                    if len(heard) == len(said):
                        break
                history = await bob.history("dm:alice:bob", limit=100)
        assert heard == said
        assert [message.data["number"] for message in history.messages] == said
    while (await metrics(machine))["chatd_workers"] != WORKERS:
        pass  # the last one starts again


async def test_workers_are_replaced_one_by_one_while_clients_come_and_go(machine: NodeProcess) -> None:
    before = pids(machine)
    async with wire(machine) as staying:
        await staying.enter(machine.token("staying"))
        machine.send_signal(signal.SIGHUP)
        while "workers replaced" not in machine.log:
            assert await visit(machine, "visitor") == "connected"
        assert await _was_told_to_reconnect(staying)
    assert pids(machine) & before == set()
    assert len(pids(machine)) == WORKERS


async def _was_told_to_reconnect(device: Wire) -> bool:
    event = await device.hear()
    return event == {"type": "reconnect", "after_seconds": event["after_seconds"]}


async def test_a_configuration_that_cannot_be_used_replaces_nobody(machine: NodeProcess) -> None:
    before = pids(machine)
    config = machine.directory / "config.toml"
    config.write_text("[broker]\nno_such_key = 1\n")
    machine.send_signal(signal.SIGHUP)
    line = await trio.to_thread.run_sync(machine.wait_for_log, "workers not replaced .*")
    assert "broker.no_such_key" in line
    assert _running(before) == before
    config.write_text("")


async def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path, shared: Settings) -> None:
    machine = start(tmp_path, shared)
    before = pids(machine)
    machine.kill()
    with trio.fail_after(15):
        while _running(before):  # noqa: ASYNC110
            await trio.sleep(0.05)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({}, "broker.kind"), ({"broker.kind": "redis"}, "store.kind")],
)
def test_what_workers_need_is_said(tmp_path: Path, wrong: Settings, key: str) -> None:
    done = chatd(tmp_path, "serve", "--workers", "2", settings=wrong)
    assert done.returncode == 2
    assert done.stderr.startswith(f"chatd: {key}: several workers need ")


def test_a_worker_that_cannot_start_ends_all_with_its_reason(tmp_path: Path) -> None:
    nowhere = {"broker.kind": "redis", "store.kind": "cassandra", "redis.servers": ["127.0.0.1:1"], "server.port": 0}
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret").write_text("too short")
    done = chatd(tmp_path, "serve", "--workers", "2", settings=nowhere)
    assert done.returncode == 2
    assert "others may read the secret" in done.stderr
