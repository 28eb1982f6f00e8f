"""TLS links: the same promises as plain ones, over a socket that takes little at a time; and files that are wrong."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import wait_all_tasks_blocked

from chatd.config import ConfigError, Tls
from chatd.stream import LinkStream
from chatd.tls import TlsLink, server_context
from tests.fakes.certificate import client_context, make_certificate
from tests.rig.links import tls_link

LARGE = bytes(range(256)) * 2000


def context_of(folder: Path) -> ssl.SSLContext:
    """Return a node's context."""
    certificate, key = make_certificate(folder)
    context = server_context(Tls(certificate=str(certificate), key=str(key)))
    assert context is not None
    return context


@asynccontextmanager
async def joined(
    folder: Path, *alpn: str, buffer: int = 0
) -> AsyncIterator[tuple[TlsLink, "trio.SSLStream[trio.SocketStream]"]]:
    """Shake hands between a link and a client."""
    context = context_of(folder)
    trusting = client_context(folder / "certificate.pem")
    trusting.set_alpn_protocols(alpn)
    async with tls_link(context, buffer) as (link, peer):
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
        client = trio.SSLStream(stream, trusting, server_hostname="localhost", https_compatible=True)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.handshake)
                await client.do_handshake()
        yield link, client


async def _read(client: "trio.SSLStream[trio.SocketStream]", count: int) -> bytes:
    got = b""
    with trio.fail_after(10):
        while len(got) < count:
            data = await client.receive_some(1000)
            if not data:
                break
            got += data
    return got


@pytest.mark.parametrize(
    ("offered", "agreed"), [((), "http/1.1"), (("http/1.1",), "http/1.1"), (("http/1.1", "h2"), "h2"), (("x",), None)]
)
async def test_the_handshake_says_which_http_was_agreed_on(
    tmp_path: Path, offered: tuple[str, ...], agreed: str | None
) -> None:
    trusting_folder = tmp_path
    context = context_of(trusting_folder)
    trusting = client_context(tmp_path / "certificate.pem")
    trusting.set_alpn_protocols(offered)
    async with tls_link(context) as (link, peer):
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
        client = trio.SSLStream(stream, trusting, server_hostname="localhost")
        found = []

        async def shake() -> None:
            found.append(await link.handshake())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake)
            await client.do_handshake()
        assert found == [agreed or "http/1.1"]


async def test_a_large_answer_waits_for_a_slow_reader_before_the_connection_ends(tmp_path: Path) -> None:
    async with joined(tmp_path, buffer=4096) as (link, client), trio.open_nursery() as nursery:

        async def answer() -> None:
            stream = LinkStream(link)
            await stream.send_all(LARGE)
            await stream.aclose()

        nursery.start_soon(answer)
        assert await _read(client, len(LARGE) + 1) == LARGE


async def test_a_large_message_comes_in_through_small_records(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, client), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, LARGE)
        got = b""
        with trio.fail_after(10):
            while len(got) < len(LARGE):
                got += await link.receive()
        assert got == LARGE


async def test_sending_takes_all_or_nothing_and_goes_on_by_itself(tmp_path: Path) -> None:
    async with joined(tmp_path, buffer=4096) as (link, client):
        assert link.send(LARGE) == len(LARGE)
        with pytest.raises(BlockingIOError):
            link.send(b"more")
        assert await _read(client, len(LARGE)) == LARGE
        await wait_all_tasks_blocked()
        assert link.send(b"more") == 4
        assert await _read(client, 4) == b"more"


async def test_who_leaves_is_an_end_with_a_goodbye_and_without(tmp_path: Path) -> None:
    for number, leave in enumerate(("aclose", "forcefully")):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with joined(folder) as (link, client):
            await client.send_all(b"last")
            if leave == "aclose":
                await client.aclose()
            else:
                await trio.aclose_forcefully(client)
            with trio.fail_after(5):
                assert [await link.receive(), await link.receive()] == [b"last", b""]
            link.shut()


async def test_broken_cipher_text_is_an_end(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, client):
        await client.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with trio.fail_after(5):
            assert await link.receive() == b""


async def test_what_is_no_tls_is_an_error(tmp_path: Path) -> None:
    async with tls_link(context_of(tmp_path)) as (link, peer):
        peer.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await link.handshake()
        link.shut()


async def test_who_leaves_in_the_handshake_is_an_error(tmp_path: Path) -> None:
    async with tls_link(context_of(tmp_path)) as (link, peer):
        peer.send(b"\x16\x03\x01")
        peer.close()
        with pytest.raises(ConnectionResetError):
            await link.handshake()


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(Tls()) is None


def test_wrong_files_are_named(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    certificate, key = make_certificate(tmp_path / "one")
    _, foreign_key = make_certificate(tmp_path / "other")
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x00junk")
    locked = tmp_path / "locked"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    missing = tmp_path / "missing"
    for given, words in (
        ((missing, key), f"server.tls.certificate: {missing}: No such file"),
        ((certificate, missing), f"server.tls.key: {missing}: No such file"),
        ((certificate, tmp_path), f"server.tls.key: {tmp_path}: Is a directory"),
        ((certificate, foreign_key), "do not belong together"),
        ((junk, key), "not a PEM chain"),
        ((certificate, junk), "not a PEM chain"),
        ((certificate, locked), "not a PEM chain and its plain PEM key"),
    ):
        with pytest.raises(ConfigError) as caught:
            server_context(Tls(certificate=str(given[0]), key=str(given[1])))
        assert words in str(caught.value)
        assert str(caught.value).startswith("server.tls")
        assert "\n" not in str(caught.value)
