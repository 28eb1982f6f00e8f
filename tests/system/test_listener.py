"""The one port of a real node: what may come first on a connection, and what becomes of it."""

import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import msgspec
import pytest
import trio

from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, client_frame
from tests.system.conftest import StartNode
from tests.system.process import NodeProcess, numbers
from tests.system.wire import MASK, request, websocket_headers, wire

pytestmark = pytest.mark.system

QUICK: dict[str, object] = {
    "limits.head_seconds": 0.5,
    "limits.head_bytes": 4096,
    "limits.hello_seconds": 0.5,
    "limits.http_idle_seconds": 1.5,
    "limits.connects_per_second": 1000,
    "limits.connects_burst": 10_000,
    "limits.http_requests_per_second": 1000,
    "limits.http_requests_burst": 10_000,
    "websocket.ping_seconds": 1.0,
    "server.allowed_origins": '["same", "https://app.example"]',
    "server.drain_seconds": 0.1,
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Run one node for all tests of this file that need no other."""
    running = NodeProcess(tmp_path_factory.mktemp("node"), QUICK).start()
    yield running
    running.stop()
    assert running.faults() == []


async def test_http_and_a_websocket_share_the_port(node: NodeProcess) -> None:
    async with wire(node) as device, httpx.AsyncClient(base_url=node.http_url) as http:
        await device.enter(node.token("alice"))
        assert (await http.get("/healthz")).text == "alive\n"
        assert (await device.ask(type="ping"))["type"] == "ok"


async def test_one_connection_serves_request_after_request(node: NodeProcess) -> None:
    async with wire(node) as client:
        for path, status in (("/healthz", 200), ("/nowhere", 404), ("/readyz", 200)):
            assert (await client.get(path)).status == status


async def test_pipelined_requests_are_answered_in_their_order(node: NodeProcess) -> None:
    async with wire(node) as client:
        await client.say(request("/healthz") + request("/nowhere") + request("/readyz"))
        assert [(await client.answer()).body for _ in range(3)][::2] == [b"alive\n", b"ready\n"]


async def test_a_head_that_comes_byte_by_byte_is_read(node: NodeProcess) -> None:
    async with wire(node) as client:
        for byte in request("/healthz"):
            await client.say(bytes([byte]))
        assert (await client.answer()).body == b"alive\n"


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: h\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
async def test_who_does_not_say_what_it_wants_is_cut_off(node: NodeProcess, said: bytes) -> None:
    async with wire(node) as client:
        await client.say(said)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (408, ErrorCode.TIMEOUT)
        assert await client.rest() == b""


async def test_a_head_without_end_is_cut_off(node: NodeProcess) -> None:
    async with wire(node) as client:
        await client.say(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 5000)
        assert (await client.answer()).status == 431
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff\x80garbage\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    ],
)
async def test_garbage_is_refused(node: NodeProcess, said: bytes) -> None:
    async with wire(node) as client:
        await client.say(said)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (400, ErrorCode.BAD_REQUEST)
        assert await client.rest() == b""


async def test_a_second_head_that_stays_unfinished_is_cut_off_as_idle(node: NodeProcess) -> None:
    async with wire(node) as client:
        await client.get("/healthz")
        await client.say(b"GET /healthz HT")
        await client.rest()


@pytest.mark.parametrize(
    ("path", "headers", "method", "status"),
    [
        ("/elsewhere", websocket_headers(), "GET", 404),
        ("/v1/echo", websocket_headers(), "GET", 404),
        ("/v1/ws", websocket_headers(), "POST", 405),
        ("/v1/ws", websocket_headers(8), "GET", 426),
        ("/v1/ws", (*websocket_headers(), "Sec-WebSocket-Protocol: chat"), "GET", 400),
        ("/v1/ws", ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"), "GET", 400),
        ("/v1/ws", (*websocket_headers(), "Origin: https://evil.example"), "GET", 403),
        ("/v1/ws", (*websocket_headers(), "Origin: null"), "GET", 403),
    ],
)
async def test_a_wrong_handshake_gets_a_problem(
    node: NodeProcess, path: str, headers: tuple[str, ...], method: str, status: int
) -> None:
    async with wire(node) as client:
        answer = await client.get(path, *headers, method=method)
        assert answer.status == status
        assert answer.problem["status"] == status
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"
        assert await client.rest() == b""


@pytest.mark.parametrize("origin", ["http://localhost", "https://app.example"])
async def test_pages_of_allowed_origins_come_in(node: NodeProcess, origin: str) -> None:
    async with wire(node) as client:
        assert (await client.upgrade(f"Origin: {origin}")).status == 101


async def test_the_websockets_path_by_plain_http_says_how_to_come(node: NodeProcess) -> None:
    async with wire(node) as client:
        answer = await client.get("/v1/ws")
        assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")


async def test_a_first_frame_in_the_packet_of_the_handshake_is_answered(node: NodeProcess) -> None:
    connect = msgspec.json.encode({"type": "connect", "id": 7, "token": node.token("alice")})
    async with wire(node) as client:
        frame = client_frame(Opcode.TEXT, connect, MASK)
        assert (await client.upgrade(behind=frame[:10])).status == 101
        await client.say(frame[10:])
        assert (await client.hear())["id"] == 7


async def test_who_opens_a_websocket_and_says_nothing_is_closed(node: NodeProcess) -> None:
    async with wire(node) as client:
        await client.upgrade()
        assert await client.close_code() == CloseCode.HELLO_TIMEOUT


async def test_who_answers_no_ping_is_closed(node: NodeProcess) -> None:
    async with wire(node) as client:
        await client.enter(node.token("alice"))
        assert await client.close_code() == CloseCode.NO_PONG


async def test_who_comes_too_often_is_told_when_to_come_back(start_node: StartNode) -> None:
    node = start_node({"limits.connects_per_second": 0.01, "limits.connects_burst": 3})
    async with wire(node) as first, wire(node) as second, wire(node) as third:
        assert (await first.get("/healthz")).status == 200
        assert (await second.upgrade()).status == 101
        assert (await third.get("/healthz")).status == 200
        async with wire(node) as fourth:
            refused = await fourth.upgrade()
        assert (refused.status, refused.problem["code"]) == (429, ErrorCode.RATE_LIMITED)
        assert int(refused.headers["retry-after"]) > 50
        metrics = numbers((await third.get("/metrics")).body.decode())
        assert metrics['chatd_connections_refused_total{limit="connects_per_second"}'] == 1
    assert "request refused address=127.0.0.1 status=429" in node.log


async def test_an_address_may_have_so_many_connections_and_a_place_is_free_again(start_node: StartNode) -> None:
    node = start_node({"limits.connections_per_address": 2})
    async with wire(node) as first, wire(node) as second:
        await first.get("/healthz")
        await second.get("/healthz")
        async with wire(node) as third:
            answer = await third.get("/healthz")
            assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    with trio.fail_after(10):
        while True:
            async with wire(node) as again:
                if (await again.get("/healthz")).status == 200:
                    return


async def test_a_full_node_closes_what_comes_and_takes_others_again(start_node: StartNode) -> None:
    node = start_node({"limits.connections": 2})
    async with wire(node) as first, wire(node) as second:
        await first.get("/healthz")
        await second.get("/healthz")
        async with wire(node) as third:
            assert await third.rest() == b""
        metrics = numbers((await first.get("/metrics")).body.decode())
        assert metrics['chatd_connections_refused_total{limit="connections"}'] == 1
    with trio.fail_after(10):
        while True:
            async with wire(node) as again:
                await again.say(request("/healthz"))
                if await again.hear_some():
                    return


async def test_a_node_without_free_descriptors_serves_who_is_there_and_says_so_once(start_node: StartNode) -> None:
    node = start_node()
    soft, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
    async with wire(node) as device, AsyncExitStack() as waiting:
        await device.enter(node.token("alice"))
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (len(node.descriptors()) + 2, hard))
        clients = [await waiting.enter_async_context(wire(node)) for _ in range(5)]
        await trio.to_thread.run_sync(node.wait_for_log, "cannot accept .*Too many open files")
        assert (await device.ask(type="ping"))["type"] == "ok"
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for client in clients:
            assert (await client.get("/healthz")).status == 200
    [line] = node.faults()
    assert "cannot accept" in line
    (node.directory / "log").write_text("")
