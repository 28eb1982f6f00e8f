"""Connections over streams in memory: what clients get wrong ends in an answer or an end, and no task stays."""

import random
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio
from quart import Response
from trio.testing import MockClock, memory_stream_pair

from chatd.api.app import build_app
from chatd.api.http import HttpServer
from chatd.api.services import Services
from chatd.counters import Counters
from chatd.limits import AddressLimiter
from tests.chatd.api.conftest import CONFIG
from tests.fakes.keyless import KEYLESS

HERE = ("192.0.2.1", 1)
GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
REQUEST = [(":method", "GET"), (":path", "/large"), (":scheme", "https"), (":authority", "a")]


@pytest.fixture
async def server(services: Services) -> AsyncIterator[HttpServer]:
    app = build_app(services)

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * 1_000_000)

    server = HttpServer(app, CONFIG, AddressLimiter(CONFIG.limits), Counters(), *KEYLESS)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        nursery.cancel_scope.cancel()


async def _answers(server: HttpServer, said: bytes, *more: bytes, alpn: str = "http/1.1") -> list[bytes]:
    """Serve what a client says, bit by bit, that then only listens; return each write of the server until it closes."""
    near, far = memory_stream_pair()
    answers: list[bytes] = []

    async def listen() -> None:
        while data := await near.receive_some():
            answers.append(bytes(data))

    async def speak() -> None:
        for piece in more:
            await trio.sleep(0.1)
            await near.send_all(piece)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(speak)
            await server.serve(far, data=said, alpn=alpn, tls=alpn == "h2", client=HERE, server=HERE)
    assert server.connections == 0
    return answers


async def test_head_and_body_of_an_answer_are_one_write(server: HttpServer, autojump_clock: MockClock) -> None:
    [answer] = await _answers(server, GET % b"/healthz")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"alive\n")


@pytest.mark.parametrize("target", [b"http://a/healthz", b"https://a:1/healthz?x=1"])
async def test_a_whole_url_is_a_target_too(server: HttpServer, autojump_clock: MockClock, target: bytes) -> None:
    assert (await _answers(server, GET % target))[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("target", [b"*", b"x", b"?", b"http://", b"ftp://a/healthz", b"a:b"])
async def test_a_target_without_a_path_is_refused(server: HttpServer, autojump_clock: MockClock, target: bytes) -> None:
    answer = b"".join(await _answers(server, GET % target))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
@pytest.mark.parametrize("begun", [b"", b"GET /"])
async def test_a_later_request_with_too_large_a_head_is_refused(
    server: HttpServer, autojump_clock: MockClock, begun: bytes, end: bytes
) -> None:
    large = b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a" + end
    answers = await _answers(server, GET % b"/healthz", begun, large[len(begun) :])
    assert answers[0].startswith(b"HTTP/1.1 200")
    assert answers[1].startswith(b"HTTP/1.1 431")
    assert b"connection: close" in answers[1].lower()


async def test_a_head_of_just_the_size_that_is_allowed_is_taken(server: HttpServer, autojump_clock: MockClock) -> None:
    head = GET % b"/healthz"
    fill = CONFIG.limits.head_bytes - len(head) - len(b"X: \r\n")
    large = head[:-2] + b"X: " + b"y" * fill + b"\r\n\r\n"
    answers = await _answers(server, GET % b"/healthz", large, large[:-4] + b"yyyyy\r\n\r\n")
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 431"]


async def test_a_reset_request_leaves_nothing_behind(server: HttpServer, autojump_clock: MockClock) -> None:
    client = _client()
    for stream in (1, 3, 5):
        client.send_headers(stream, REQUEST)
        client.reset_stream(stream)
    await _answers(server, client.data_to_send(), alpn="h2")


async def test_a_client_that_opens_no_window_is_cut_off(server: HttpServer, autojump_clock: MockClock) -> None:
    client = _client()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.send_headers(1, REQUEST, end_stream=True)
    await _answers(server, client.data_to_send(), alpn="h2")


@pytest.mark.parametrize("more", [[], [(":protocol", "websocket"), (":path", "/v1/ws"), (":scheme", "https")]])
async def test_tunnels_are_refused(server: HttpServer, autojump_clock: MockClock, more: list[tuple[str, str]]) -> None:
    client = _client()
    client.send_headers(1, [(":method", "CONNECT"), (":authority", "a"), *more])
    answers = await _answers(server, client.data_to_send(), alpn="h2")
    events = [event for data in answers for event in client.receive_data(data)]
    assert any(isinstance(event, h2.events.StreamReset) for event in events)


async def test_a_body_after_its_answer_harms_no_other_request(server: HttpServer, autojump_clock: MockClock) -> None:
    client = _client()
    headers = [(":method", "POST"), (":path", "/v1/auth/login"), (":scheme", "https"), (":authority", "a")]
    client.send_headers(1, [*headers, ("content-length", "9000")])
    for _ in range(3):
        client.send_data(1, b"x" * 3000)
    client.send_headers(3, [(":method", "GET"), (":path", "/healthz"), *REQUEST[2:]], end_stream=True)
    answers = await _answers(server, client.data_to_send(), alpn="h2")
    events = [event for data in answers for event in client.receive_data(data)]
    statuses = {
        event.stream_id: dict(event.headers or ())[b":status"]
        for event in events
        if isinstance(event, h2.events.ResponseReceived)
    }
    assert statuses == {1: b"413", 3: b"200"}


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("seed", range(25))
async def test_garbage_ends_in_an_end(server: HttpServer, autojump_clock: MockClock, alpn: str, seed: int) -> None:
    chance = random.Random(seed)
    client = _client()
    client.send_headers(1, REQUEST, end_stream=True)
    start = client.data_to_send() if alpn == "h2" else b"POST /v1/auth/guest HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n{}" * 2
    said = bytearray(start)
    for _ in range(seed % 5):
        said[chance.randrange(len(said))] = chance.randrange(256)
    await _answers(server, bytes(said) + chance.randbytes(seed * 3), alpn=alpn)


def _client() -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False)
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    return client
