"""Whose address counts on a real node: only proxies that are trusted are believed."""

import struct

import pytest

from tests.system.conftest import StartNode
from tests.system.process import NodeProcess
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

V1 = b"PROXY TCP4 203.0.113.%d 192.0.2.1 40000 443\r\n"


def _v2(address: tuple[int, int, int, int]) -> bytes:
    head = b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, 12)
    return head + bytes(address) + bytes((192, 0, 2, 1)) + struct.pack("!HH", 40000, 443)


async def _opened_from(node: NodeProcess, device: Wire, user: str, *headers: str) -> str:
    """Open a session and return the address that the log says it has."""
    assert (await device.upgrade(*headers)).status == 101
    await device.ask(type="connect", token=node.token(user))
    [line] = [line for line in node.log.splitlines() if "session opened" in line and f"user={user} " in line]
    return next(word for word in line.split() if word.startswith("address=")).removeprefix("address=")


async def test_proxy_headers_of_both_versions_give_the_clients_address(start_node: StartNode) -> None:
    node = start_node({"server.trusted_proxies": ["127.0.0.1"], "server.proxy_protocol": True})
    async with wire(node, first=V1 % 7) as one, wire(node, first=_v2((203, 0, 113, 8))) as other:
        assert await _opened_from(node, one, "one") == "203.0.113.7"
        assert await _opened_from(node, other, "other") == "203.0.113.8"
    async with wire(node, first=b"PROXY UNKNOWN\r\n") as local:
        assert await _opened_from(node, local, "local") == "127.0.0.1"


async def test_a_proxy_header_that_comes_in_pieces_is_read(start_node: StartNode) -> None:
    node = start_node({"server.trusted_proxies": ["127.0.0.0/8"], "server.proxy_protocol": True})
    async with wire(node) as device:
        for byte in V1 % 9:
            await device.say(bytes([byte]))
        assert await _opened_from(node, device, "slow") == "203.0.113.9"


async def test_clients_behind_a_proxy_are_limited_one_by_one(start_node: StartNode) -> None:
    trusted = {"server.trusted_proxies": ["127.0.0.1"], "server.proxy_protocol": True}
    node = start_node({**trusted, "limits.connections_per_address": 1})
    async with wire(node, first=V1 % 7) as one:
        assert (await one.upgrade()).status == 101
        async with wire(node, first=V1 % 7) as same, wire(node, first=V1 % 8) as other:
            assert (await same.upgrade()).status == 429
            assert (await other.upgrade()).status == 101


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n", _v2((1, 2, 3, 4))[:-1] + b""]
)
async def test_a_trusted_proxy_must_speak_its_protocol(start_node: StartNode, said: bytes) -> None:
    trusted = {"server.trusted_proxies": ["127.0.0.1"], "server.proxy_protocol": True}
    node = start_node({**trusted, "limits.head_seconds": 0.5})
    async with wire(node) as client:
        await client.say(said)
        assert (await client.answer()).status in (400, 408)
        assert await client.rest() == b""


async def test_who_is_not_trusted_is_not_believed(start_node: StartNode) -> None:
    node = start_node({"server.trusted_proxies": ["192.0.2.0/24"], "server.proxy_protocol": True})
    for header in (V1 % 7, _v2((203, 0, 113, 8))):
        async with wire(node, first=header) as client:
            assert (await client.upgrade()).status == 400
    async with wire(node) as device:
        assert await _opened_from(node, device, "plain", "X-Forwarded-For: 203.0.113.7") == "127.0.0.1"


async def test_forwarded_addresses_count_from_a_trusted_proxy(start_node: StartNode) -> None:
    node = start_node({"server.trusted_proxies": ["127.0.0.1"], "limits.connections_per_address": 1})
    for header, user in (("X-Forwarded-For: 6.6.6.6, 203.0.113.7", "x"), ("Forwarded: for=203.0.113.7", "standard")):
        async with wire(node) as device, wire(node) as second, wire(node) as third:
            assert await _opened_from(node, device, user, header) == "203.0.113.7"
            assert (await second.upgrade(header)).status == 429
            assert (await third.upgrade(header.replace("203.0.113.7", "203.0.113.8"))).status == 101
        node.wait_for_log(f"session closed .*user={user} ")
