"""Posting over real sockets of loopback: where it connects to, what it verifies, and what it does not wait for."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypercorn.config
import hypercorn.trio
import pytest
import trio

from chatd.outbound.client import Answer, Client, PostFailed
from tests.fakes.certificate import client_context, make_certificate
from tests.rig.webhook_receiver import Receiver, Reply, open_receiver

pytestmark = pytest.mark.system

PUBLIC = "93.184.216.34"


@asynccontextmanager
async def client(
    *, resolver: Callable[[str, int], Any] | None = None, allow_private: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    options: dict[str, Any] = {} if resolver is None else {"resolver": resolver}
    made = Client(connections=2, allow_private=allow_private, tls=tls, **options)
    try:
        yield made
    finally:
        await made.aclose()


async def post(made: Client, url: str, *, seconds: float = 10.0) -> Answer:
    return await made.post(url, b"{}", {}, seconds=seconds, answer_bytes=100)


@asynccontextmanager
async def unsigned_receiver() -> AsyncIterator[Receiver]:
    """A receiver that is sent requests without signatures here."""
    async with open_receiver() as receiver:
        yield receiver
        receiver.faults.clear()


def names(*addresses: str) -> Callable[[str, int], Any]:
    """Return a resolver that knows these addresses of every name, one call after the other the next of them."""
    answers = iter(addresses)

    async def resolver(host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        return next(answers).split()

    return resolver


async def test_it_posts_and_returns_what_was_answered() -> None:
    async with unsigned_receiver() as receiver, client() as made:
        receiver.script.append(Reply(201, (("X-Word", "yes"),), b"done"))
        answer = await made.post(receiver.url, b'{"a":1}', {"X-Mine": "1"}, seconds=10.0, answer_bytes=100)
        assert (answer.status, answer.headers["x-word"], answer.body) == (201, "yes", b"done")
        [request] = receiver.requests
        assert (request.path, request.body, request.headers["x-mine"]) == ("/hook", b'{"a":1}', "1")
        assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_connections_are_kept() -> None:
    async with unsigned_receiver() as receiver, client() as made:
        for _ in range(5):
            await post(made, receiver.url)
        assert receiver.connections == 1


async def test_a_private_address_is_not_connected_to_where_it_is_not_allowed() -> None:
    async with unsigned_receiver() as receiver, client(allow_private=False) as made:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1"):
            with pytest.raises(PostFailed, match="BlockedAddress"):
                await post(made, f"http://{host}:{receiver.port}/hook")
        assert receiver.connections == 0


async def test_the_metadata_service_is_not_connected_to_even_where_private_addresses_are_allowed() -> None:
    async with client() as made:
        with pytest.raises(PostFailed, match="BlockedAddress"):
            await post(made, "http://169.254.169.254/latest/meta-data/")


async def test_a_name_whose_address_changes_after_the_check_leads_nowhere_else() -> None:
    """DNS rebinding: public when it is looked at, loopback when it is connected to."""
    async with unsigned_receiver() as receiver:
        async with client(resolver=names(f"{PUBLIC}", "127.0.0.1"), allow_private=False) as made:
            url = f"http://rebound.example:{receiver.port}/hook"
            # The public address answers nothing here; loopback, the second answer, must not be asked in its place.
            with pytest.raises(PostFailed):
                await post(made, url, seconds=0.5)
            with pytest.raises(PostFailed, match="BlockedAddress"):
                await post(made, url)
        assert receiver.connections == 0


async def test_of_several_addresses_only_the_allowed_ones_are_used() -> None:
    async with unsigned_receiver() as receiver:
        resolver = names("169.254.169.254 fe80::1 127.0.0.1")
        async with client(resolver=resolver) as made:
            assert (await post(made, f"http://mixed.example:{receiver.port}/hook")).status == 204
        assert receiver.requests[0].headers["host"] == f"mixed.example:{receiver.port}"


async def test_an_unknown_name_is_a_failed_post() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with client(resolver=resolver) as made:
        with pytest.raises(PostFailed, match="no such name"):
            await post(made, "http://nowhere.example/")


async def test_nobody_listening_is_a_failed_post() -> None:
    async with unsigned_receiver() as receiver:
        port = receiver.port
    async with client() as made:
        with pytest.raises(PostFailed, match="ConnectError"):
            await post(made, f"http://127.0.0.1:{port}/")


async def test_redirects_are_not_followed() -> None:
    async with unsigned_receiver() as receiver, client() as made:
        receiver.script.append(Reply(307, (("Location", receiver.url + "/elsewhere"),)))
        assert (await post(made, receiver.url)).status == 307
        assert len(receiver.requests) == 1


async def test_the_variables_for_proxies_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with unsigned_receiver() as receiver, client() as made:
        assert (await post(made, receiver.url)).status == 204


async def test_an_answer_that_does_not_come_fails_at_the_deadline_and_the_next_request_works() -> None:
    async with unsigned_receiver() as receiver, client() as made:
        receiver.script.append(Reply(hangs=True))
        with pytest.raises(PostFailed, match=r"no answer within 0\.2 seconds"):
            await post(made, receiver.url, seconds=0.2)
        assert (await post(made, receiver.url)).status == 204


@pytest.mark.parametrize(
    "garbage",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"\x00" * 100],
    ids=["nothing", "no http", "half a line", "half a body", "zeros"],
)
async def test_garbage_is_a_failed_post_and_the_next_request_works(garbage: bytes) -> None:
    async with unsigned_receiver() as receiver, client() as made:
        receiver.script.append(Reply(garbage=garbage))
        with pytest.raises(PostFailed):
            await post(made, receiver.url)
        assert (await post(made, receiver.url)).status == 204


async def test_of_a_large_answer_only_the_beginning_is_kept() -> None:
    async with unsigned_receiver() as receiver, client() as made:
        receiver.script.append(Reply(200, (), b"x" * 1_000_000))
        assert (await post(made, receiver.url)).body == b"x" * 100
        assert (await post(made, receiver.url)).status == 204


@asynccontextmanager
async def tls_server(folder: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """Run an independent HTTP/2 server with a certificate for localhost; it tells the version and host it saw."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = {"version": scope["http_version"], "host": headers.get("host", "")}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})

    certificate, key = make_certificate(folder)
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.certfile, config.keyfile = str(certificate), str(key)
    config.accesslog = config.errorlog = None
    config.alpn_protocols = ["h2", "http/1.1"]
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        [bound] = await nursery.start(partial(hypercorn.trio.serve, app, config, shutdown_trigger=done.wait))
        yield urlsplit(bound).port or 0, client_context(certificate)
        done.set()
        nursery.cancel_scope.cancel()


async def test_tls_verifies_the_name_of_the_url_while_the_checked_address_is_connected_to(tmp_path: Path) -> None:
    async with tls_server(tmp_path) as (port, context):
        async with client(resolver=names("127.0.0.1"), tls=context) as made:
            answer = await post(made, f"https://localhost:{port}/")
            assert json.loads(answer.body) == {"version": "2", "host": f"localhost:{port}"}
        async with client(resolver=names("127.0.0.1"), tls=context) as made:
            with pytest.raises(PostFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await post(made, f"https://other.example:{port}/")


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with tls_server(tmp_path) as (port, _), client() as made:
        with pytest.raises(PostFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await post(made, f"https://localhost:{port}/")
