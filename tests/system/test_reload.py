"""SIGHUP at a real node: every limit of HTTP that is said to have changed has changed."""

import signal

import pytest

from tests.system.conftest import StartNode
from tests.system.process import NodeProcess
from tests.system.wire import Answer, request, wire

pytestmark = pytest.mark.system

HTTP_LIMITS = "[limits]\nhead_bytes = 300\nhttp_body_bytes = 50\nhttp_body_seconds = 0.2\nhttp_idle_seconds = 0.3\n"
CHANGED = "http_body_bytes.*http_body_seconds.*http_idle_seconds"


async def _login(node: NodeProcess, body: bytes, size: int) -> Answer:
    async with wire(node) as http:
        await http.say(request("/v1/auth/login", f"Content-Length: {size}", method="POST") + body)
        return await http.answer("POST")


async def test_sighup_takes_over_the_limits_of_http(start_node: StartNode) -> None:
    node = start_node()
    large = b'{"name": "alice", "password": "' + b"x" * 100 + b'"}'
    assert (await _login(node, large, len(large))).status == 401
    (node.directory / "config.toml").write_text(HTTP_LIMITS)
    node.send_signal(signal.SIGHUP)
    node.wait_for_log(f"configuration reloaded.*{CHANGED}")
    assert (await _login(node, large, len(large))).status == 413
    assert (await _login(node, b"{", 10)).status == 408
    async with wire(node) as http:
        assert (await http.get("/healthz")).status == 200
        await http.say(b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 400)
        assert (await http.answer()).status == 431
    async with wire(node) as http:
        assert (await http.get("/healthz")).status == 200
        assert await http.rest() == b""
    assert "need a restart" not in node.log
