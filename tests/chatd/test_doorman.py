"""The doorman: what a connection is before anybody knows what it wants, within the limits."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from chatd.config import Config
from chatd.counters import Counters
from chatd.doorman import Arrival, Doorman, Visit, turn_away
from chatd.limits import AddressLimiter, RefusalReason
from chatd.link import Link
from chatd.settings import Settings
from protocol.handshake import Rejected, reject
from tests.rig.links import ADDRESS, plain_link

HEAD = b"GET /page HTTP/1.1\r\nHost: h\r\n"
UPGRADE = b"GET /v1/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"


class Entrance:
    """A doorman with the limits of one address."""

    def __init__(self, server: dict[str, Any], limits: dict[str, Any]) -> None:
        config = Config()
        config = msgspec.structs.replace(
            config,
            server=msgspec.structs.replace(config.server, **server),
            limits=msgspec.structs.replace(config.limits, **limits),
        )
        self.counters = Counters()
        self.addresses = AddressLimiter(config.limits)
        self.doorman = Doorman(Settings(config), self.counters, with_tls=False)

    @asynccontextmanager
    async def visit(self, said: bytes) -> AsyncIterator[tuple[Arrival | Rejected, Link, socket.socket]]:
        """Receive one connection that says this; what was counted is counted no more behind the block."""
        async with plain_link() as (link, peer):
            peer.send(said)
            visit = Visit(self.addresses)
            try:
                yield await self.doorman.receive(link, visit), link, peer
            finally:
                visit.end()


def entrance(server: dict[str, Any] | None = None, **limits: Any) -> Entrance:
    return Entrance(server or {}, limits)


async def test_a_head_is_given_on_with_what_came_behind_it() -> None:
    async with entrance().visit(HEAD + b"\r\nbehind") as (arrival, _, _):
        assert isinstance(arrival, Arrival)
        assert arrival.head is not None
        assert (arrival.head.path, arrival.rest, arrival.data) == ("/page", b"behind", HEAD + b"\r\nbehind")


@pytest.mark.parametrize(("said", "status"), [(b"", 408), (HEAD, 408), (b"\x00\r\n\r\n", 400)])
async def test_silence_and_garbage_are_refused(said: bytes, status: int, autojump_clock: MockClock) -> None:
    async with entrance().visit(said) as (answer, _, _):
        assert isinstance(answer, Rejected)
        assert answer.status == status


@pytest.mark.parametrize(("size", "refused"), [(100, False), (101, True)])
async def test_a_head_may_be_as_long_as_the_limit_and_no_longer(size: int, refused: bool) -> None:
    head = HEAD + b"X: "
    head += b"x" * (size - len(head))
    async with entrance(head_bytes=100).visit(head + b"\r\n\r\n") as (answer, _, _):
        assert isinstance(answer, Rejected) is refused
        if isinstance(answer, Rejected):
            assert answer.status == 431


async def test_an_address_over_its_limit_is_told_so_and_counted() -> None:
    door = entrance(connections_per_address=1)
    async with door.visit(HEAD + b"\r\n"), door.visit(HEAD + b"\r\n") as (answer, _, _):
        assert isinstance(answer, Rejected)
        assert (answer.status, b"\r\nRetry-After: 5\r\n" in answer.response) == (429, True)
    assert door.counters.connections_refused == {RefusalReason.CONNECTIONS: 1}
    async with door.visit(HEAD + b"\r\n") as (arrival, _, _):
        assert isinstance(arrival, Arrival)


async def test_a_trusted_proxys_word_counts_for_websockets_and_its_own_connections_are_not_limited() -> None:
    door = entrance({"trusted_proxies": (ADDRESS,)}, connections_per_address=1)
    forwarded = UPGRADE + b"X-Forwarded-For: 203.0.113.7\r\n\r\n"
    async with door.visit(HEAD + b"\r\n") as (first, _, _), door.visit(HEAD + b"\r\n") as (second, _, _):
        assert isinstance(first, Arrival)
        assert isinstance(second, Arrival)
    async with door.visit(forwarded) as (arrival, link, _), door.visit(forwarded) as (refused, _, _):
        assert isinstance(arrival, Arrival)
        assert link.address == "203.0.113.7"
        assert isinstance(refused, Rejected)


async def test_a_stranger_is_not_believed() -> None:
    door = entrance({"trusted_proxies": ("198.51.100.1",), "proxy_protocol": True})
    async with door.visit(UPGRADE + b"X-Forwarded-For: 203.0.113.7\r\n\r\n") as (_, link, _):
        assert link.address == ADDRESS
    async with door.visit(b"PROXY TCP4 203.0.113.7 192.0.2.2 1 2\r\n" + HEAD + b"\r\n") as (answer, link, _):
        assert isinstance(answer, Rejected)
        assert (answer.status, link.address) == (400, ADDRESS)


async def test_a_proxy_header_is_taken_off_and_believed() -> None:
    door = entrance({"trusted_proxies": (ADDRESS,), "proxy_protocol": True})
    async with door.visit(b"PROXY TCP4 203.0.113.7 192.0.2.2 1 2\r\n" + HEAD + b"\r\n") as (arrival, link, _):
        assert isinstance(arrival, Arrival)
        assert (link.address, arrival.data) == ("203.0.113.7", HEAD + b"\r\n")


@pytest.mark.parametrize(("said", "status"), [(b"PROXY TCP4", 408), (HEAD + b"\r\n", 400)])
async def test_a_proxy_without_its_header_is_refused(said: bytes, status: int, autojump_clock: MockClock) -> None:
    door = entrance({"trusted_proxies": (ADDRESS,), "proxy_protocol": True})
    async with door.visit(said) as (answer, _, _):
        assert isinstance(answer, Rejected)
        assert answer.status == status


@pytest.mark.parametrize("proxy", [False, True])
async def test_who_leaves_before_it_said_what_it_wants_is_gone(proxy: bool) -> None:
    server = {"trusted_proxies": (ADDRESS,), "proxy_protocol": True} if proxy else {}
    door = entrance(server)
    async with plain_link() as (link, peer):
        peer.send(b"PROX" if proxy else b"GET")
        peer.close()
        with pytest.raises(ConnectionResetError):
            await door.doorman.receive(link, Visit(door.addresses))


async def test_who_is_turned_away_has_a_moment_to_read_why(autojump_clock: MockClock) -> None:
    refusal = reject(400, "no")
    async with plain_link() as (link, peer):
        begun = trio.current_time()
        await turn_away(link, refusal)
        assert trio.current_time() > begun
        assert peer.recv(10_000) == refusal.response
        assert peer.recv(1) == b""
    async with plain_link() as (link, peer):
        peer.send(b"more")
        peer.shutdown(socket.SHUT_WR)
        begun = trio.current_time()
        await turn_away(link, refusal)
        assert trio.current_time() == begun
