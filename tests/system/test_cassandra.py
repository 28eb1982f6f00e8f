"""A real node on a real Cassandra that is not there yet, is killed, and comes back: nobody restarts the node."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from deploy.local.cassandra.errors import Missing
from deploy.local.cassandra.node import CassandraNode, NodeOptions
from protocol.codes import ErrorCode
from tests.rig import installed
from tests.rig.ports import free_port
from tests.system.process import NodeProcess
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds until something must have happened; it takes few
CHANNEL = "dm:alice:bob"


@pytest.fixture
def cassandra_node(tmp_path: Path) -> Iterator[CassandraNode]:
    """A Cassandra of the test's own that does not run yet."""
    options = NodeOptions(HOST, free_port(), free_port(), (HOST,), launcher=("setpriv", "--pdeathsig", "KILL"))
    node = CassandraNode(tmp_path / "cassandra", options)
    yield node
    node.kill()


@pytest.fixture
def node(tmp_path: Path, cassandra_node: CassandraNode) -> Iterator[NodeProcess]:
    """A node that uses it, and does not run yet."""
    directory = tmp_path / "node"
    directory.mkdir()
    (directory / "config.toml").write_text("")
    settings: dict[str, object] = {
        "store.kind": "cassandra",
        "cassandra.port": cassandra_node.options.port,
        "cassandra.replication_factor": 1,
        "cassandra.request_seconds": 1.0,
        "auth.hash_memory_kib": 8,
    }
    made = NodeProcess(directory, settings)
    made.port = free_port()
    yield made
    made.stop()


async def status(http: httpx.AsyncClient, path: str) -> int:
    """Return the status that the node answers with, 0 when it does not."""
    try:
        return (await http.get(path)).status_code
    except httpx.TransportError:
        return 0


async def until(http: httpx.AsyncClient, path: str, wanted: int) -> None:
    """Return when the node answers so."""
    with trio.fail_after(PATIENCE):
        while True:
            if await status(http, path) == wanted:
                return
            await trio.sleep(0.05)


async def send(device: Wire, key: str, *, retry: bool = False) -> dict[str, object]:
    """Send a message and return the answer."""
    return await device.ask(type="send", channel=CHANNEL, key=key, data={"key": key}, retry=retry)


async def send_again(device: Wire, key: str) -> dict[str, object]:
    """Send a message until it is taken, as a client does; return the answer."""
    with trio.fail_after(PATIENCE):
        while True:
            answer = await send(device, key, retry=True)
            if answer["type"] == "sent":
                return answer
            await trio.sleep(0.1)


async def test_a_node_waits_for_its_store_and_outlives_its_death(
    node: NodeProcess, cassandra_node: CassandraNode
) -> None:
    async with trio.open_nursery() as nursery, httpx.AsyncClient(base_url=f"http://{HOST}:{node.port}") as http:
        nursery.start_soon(trio.to_thread.run_sync, node.start)
        await until(http, "/healthz", 200)
        assert await status(http, "/readyz") == 503
        try:
            cassandra_node.start()
        except Missing as error:
            installed.give_up(str(error))
        await until(http, "/readyz", 200)
        for name in ("alice", "bob"):
            account = {"name": name, "password": "correct horse battery"}
            assert (await http.post("/v1/auth/register", json=account)).is_success
        async with wire(node) as alice:
            await alice.enter(node.token("alice"))
            for number in range(20):
                assert (await send(alice, f"before-{number}"))["type"] == "sent"
            cassandra_node.kill()
            refused = await send(alice, "during")
            assert refused["code"] in (ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT)
            assert refused["code"] == ErrorCode.TIMEOUT or refused["retry_after"] == 1.0
            await until(http, "/readyz", 503)
            cassandra_node.start()
            await until(http, "/readyz", 200)
            answer = await send_again(alice, "during")
            assert (await send(alice, "during", retry=True))["seq"] == answer["seq"]
            assert (await send(alice, "after"))["type"] == "sent"
            page = await alice.ask(type="history", channel=CHANNEL, limit=100)
            keys = [message["key"] for message in page["messages"]]
            assert keys == [f"before-{number}" for number in range(20)] + ["during", "after"]
    assert "waiting for Cassandra" in node.log
