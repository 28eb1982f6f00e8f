"""A real node whose port speaks TLS: HTTP of both versions and WebSockets, and who does not speak it well."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client

from protocol.codes import CloseCode
from tests.fakes.certificate import client_context, make_certificate
from tests.system.process import NodeProcess, numbers
from tests.system.wire import wire

pytestmark = pytest.mark.system

TEXT = "x" * 15_000


class TlsNode(NodeProcess):
    """A node with a certificate of its own."""

    def __init__(self, directory: Path) -> None:
        self.certificate, key = make_certificate(directory)
        settings = {
            "server.tls.certificate": self.certificate,
            "server.tls.key": key,
            "server.tls.handshake_seconds": 1.0,
            "server.drain_seconds": 0.1,
            "websocket.deflate": False,
            "limits.outbox_bytes": 100_000,
            "limits.messages_burst": 10_000,
            "limits.commands_burst": 10_000,
        }
        super().__init__(directory, settings)

    @property
    def context(self) -> ssl.SSLContext:
        """What a client needs to trust it."""
        return client_context(self.certificate)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    """Run one node for all tests of this file."""
    running = TlsNode(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()
    assert running.faults() == []


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
async def test_both_versions_of_http_speak_on_the_port(node: TlsNode, http2: bool, version: str) -> None:
    url = f"https://localhost:{node.port}"
    async with httpx.AsyncClient(base_url=url, http2=http2, verify=node.context) as http:
        for _ in range(2):
            answer = await http.get("/healthz")
            assert (answer.text, answer.http_version) == ("alive\n", version)


def test_a_client_of_another_make_connects_and_closes_cleanly(node: TlsNode) -> None:
    url = f"wss://localhost:{node.port}/v1/ws"
    subprotocols = [websockets.Subprotocol("chatd.v1.json")]
    with websockets.sync.client.connect(url, ssl=node.context, subprotocols=subprotocols) as socket:
        socket.send(f'{{"type":"connect","id":1,"token":"{node.token("alice")}"}}')
        assert '"connected"' in str(socket.recv(timeout=10))
    assert socket.close_code == CloseCode.NORMAL


async def test_large_messages_pass_both_ways_through_small_buffers(node: TlsNode) -> None:
    async with wire(node, node.context, receive_buffer=4096) as alice, wire(node, node.context) as bob:
        for device, name in ((alice, "alice"), (bob, "bob")):
            await device.enter(node.token(name))
            await device.ask(type="subscribe", channel="room:large")
        for number in range(5):
            await bob.tell(type="send", channel="room:large", key=f"b{number}", data={"text": TEXT})
        for device in (alice, bob):
            got: list[str] = []
            while len(got) < 5:
                event = await device.hear()
                if event["type"] == "message":
                    got.append(event["key"])
                    assert event["data"] == {"text": TEXT}
            assert got == [f"b{number}" for number in range(5)]
        sent = await alice.ask(type="send", channel="room:large", key="a", data={"text": TEXT})
        assert sent["type"] == "sent"


async def test_a_reader_that_stops_is_cut_off_and_the_others_go_on(node: TlsNode) -> None:
    context = node.context
    async with wire(node, context, receive_buffer=2048) as slow, wire(node, context) as bob:
        await slow.enter(node.token("slow"))
        await slow.ask(type="subscribe", channel="room:slow")
        await bob.enter(node.token("bob"))
        await bob.ask(type="subscribe", channel="room:slow")
        for number in range(400):
            await bob.ask(type="send", channel="room:slow", key=f"k{number}", data={"text": TEXT})
            async with wire(node, context) as client:
                metrics = numbers((await client.get("/metrics")).body.decode())
            if 'chatd_drops_total{cause="slow"}' in metrics:
                break
        assert await slow.close_code() == CloseCode.SLOW
        assert (await bob.ask(type="ping"))["type"] == "ok"


async def test_plain_http_on_the_port_is_ended(node: TlsNode) -> None:
    async with wire(node) as client:
        await client.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert not (await client.rest()).startswith(b"HTTP")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_stalls_is_ended(node: TlsNode, said: bytes) -> None:
    async with wire(node, first=said) as client:
        assert await client.rest() == b""
