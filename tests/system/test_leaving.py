"""A node that is told to leave while HTTP requests are under way."""

import signal
import time

import pytest
import trio

from tests.system.conftest import StartNode
from tests.system.wire import request, wire

pytestmark = pytest.mark.system

BODY = b'{"name": "nobody", "password": "wrong password"}'


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_under_way_is_finished_without_a_window(start_node: StartNode, how: signal.Signals) -> None:
    node = start_node({"server.drain_seconds": 0.0})
    async with wire(node) as http, wire(node) as device:
        await device.enter(node.token("alice"))
        await http.say(request("/v1/auth/login", f"Content-Length: {len(BODY)}", method="POST"))
        assert (await device.ask(type="ping"))["type"] == "ok"
        node.send_signal(how)
        await device.close_code()
        await device.stream.aclose()
        await http.say(BODY)
        assert (await http.answer("POST")).status == 401
        assert await trio.to_thread.run_sync(node.wait) == 0


async def test_a_request_that_never_ends_is_cut_off_at_the_deadline(start_node: StartNode) -> None:
    node = start_node({"server.drain_seconds": 0.0, "server.shutdown_seconds": 0.5, "limits.http_body_seconds": 600.0})
    async with wire(node) as http:
        await http.say(request("/v1/auth/login", "Content-Length: 10", method="POST"))
        async with wire(node) as other:
            assert (await other.get("/healthz")).status == 200
        begun = time.monotonic()
        node.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(node.wait) == 0
        assert time.monotonic() - begun > 0.4


async def test_answers_of_a_node_that_leaves_end_their_connections(start_node: StartNode) -> None:
    node = start_node({"server.drain_seconds": 30.0})
    async with wire(node) as http, wire(node) as device:
        await device.enter(node.token("alice"))
        assert "connection" not in (await http.get("/readyz")).headers
        node.send_signal(signal.SIGTERM)
        while (await device.hear())["type"] != "reconnect":
            pass
        answer = await http.get("/readyz")
        assert (answer.status, answer.headers["connection"]) == (503, "close")
