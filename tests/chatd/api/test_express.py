"""Plain requests past hypercorn: what is taken for one, that h11 reads the same in it, and what clients get."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from quart import request
from trio.testing import MockClock, memory_stream_pair

from chatd.api.app import build_app
from chatd.api.express import read_plain, whole_body
from chatd.api.http import HttpServer
from chatd.api.services import Services
from chatd.counters import Counters
from chatd.limits import AddressLimiter
from tests.chatd.api.conftest import CONFIG
from tests.chatd.api.test_turnstile import Turns
from tests.fakes.keyless import NoKeys

HERE = ("192.0.2.1", 1)
HEAD_BYTES = 16_384
HEAD = b"POST /hot HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
PLAIN = HEAD + b"\r\n{}"
OTHERS = [
    b"GET /hot HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /hot HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /hot?x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST http://a/hot HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /hot HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /hot HTTP/1.1\r\nHost: a\r\n\r\n{}",
    b"POST /hot HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
    b"POST /hot HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
    b"POST /hot HTTP/1.1\r\n Host: a\r\nContent-Length: 2\r\n\r\n{}",
    *(HEAD.replace(b"2", size) + b"\r\n{}" for size in (b"+2", b"2, 2", b"0x2", b"-1", b"", b"1" * 20, b"1")),
    *(
        HEAD + line + b"\r\n\r\n{}"
        for line in (
            b"Host: b",
            b"Content-Length: 2",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"Upgrade: websocket",
            b"Connection: close",
            b"Connection: keep-alive, te",
            b"X: a\r\n b",
            b"X: \xff",
            b"X: \x00",
            b"X\x00: a",
            b": a",
        )
    ),
    PLAIN + PLAIN,
    PLAIN + b"\r\n",
]


def test_a_plain_request_is_read() -> None:
    found = read_plain(b"POST /a%3Ab HTTP/1.1\r\nHOST: a\r\nx:\t b c \r\ncontent-length: 2\r\n\r\n{}", HEAD_BYTES)
    assert found is not None
    assert (found.target, found.path, found.body, found.missing) == (b"/a%3Ab", "/a:b", b"{}", 0)
    assert found.headers == [(b"host", b"a"), (b"x", b"b c"), (b"content-length", b"2")]


def test_how_much_of_a_body_is_missing_is_known() -> None:
    found = read_plain(HEAD.replace(b"2", b"9") + b"\r\n{}", HEAD_BYTES)
    assert found is not None
    assert found.missing == 7
    assert read_plain(HEAD, HEAD_BYTES) is None


@pytest.mark.parametrize("data", OTHERS)
def test_what_is_not_plain_is_left_alone(data: bytes) -> None:
    assert read_plain(data, HEAD_BYTES) is None


def test_a_head_that_is_too_large_is_left_alone() -> None:
    data = HEAD + b"X: " + b"y" * 100 + b"\r\n\r\n{}"
    assert read_plain(data, len(data) - 3) is None
    assert read_plain(data, len(data) - 2) is not None


def by_h11(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Read a request as h11 does."""
    machine = h11.Connection(h11.SERVER)
    machine.receive_data(data)
    head = machine.next_event()
    assert isinstance(head, h11.Request)
    body = b""
    while isinstance(part := machine.next_event(), h11.Data):
        body += part.data
    assert isinstance(part, h11.EndOfMessage)
    assert machine.trailing_data == (b"", False)
    return head.target, list(head.headers), body


@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.binary(max_size=3)), max_size=4),
    st.lists(
        st.sampled_from([b"X: y", b"x:", b"Host: b", b"Connection: Keep-Alive", b"Content-Length: 2"]), max_size=2
    ),
)
def test_h11_reads_the_same_in_whatever_is_taken_for_plain(
    changes: list[tuple[int, int, bytes]], lines: list[bytes]
) -> None:
    data = HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n{}"
    for at, count, new in changes:
        data = data[:at] + new + data[at + count :]
    found = read_plain(data, HEAD_BYTES)
    if found is not None and not found.missing:
        assert (found.target, found.headers, found.body) == by_h11(data)


class Hot:
    """A hot route that says what it got; `/fault` fails, and `/app` goes on to the app."""

    def __init__(self) -> None:
        self.whole: list[bool] = []
        self.app: Any = None
        self.on_call: Callable[[], None] = lambda: None

    def matches(self, method: str, path: str) -> bool:
        return path in ("/hot", "/fault", "/app")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.on_call()
        self.whole.append(whole_body(scope) is not None)
        if scope["path"] == "/fault":
            raise ValueError("no")
        if scope["path"] == "/app":
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            event = await receive()
            body += event["body"]
            if not event["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-for", scope["client"][0].encode())]})
        await send({"type": "http.response.body", "body": b"<" + body + b">", "more_body": False})


@pytest.fixture
def hot() -> Hot:
    return Hot()


@pytest.fixture
async def server(services: Services, hot: Hot) -> AsyncIterator[HttpServer]:
    app = hot.app = build_app(services)

    @app.post("/app")
    async def echo() -> str:
        return str(await request.get_data(as_text=True))

    made = HttpServer(app, CONFIG, AddressLimiter(CONFIG.limits), Counters(), NoKeys(), hot)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def talk(server: HttpServer, *said: bytes, pause: float = 0.0) -> list[bytes]:
    """Say these pieces; return each write of the server until it closes."""
    near, far = memory_stream_pair()
    answers: list[bytes] = []

    async def listen() -> None:
        while data := await near.receive_some():
            answers.append(bytes(data))

    async def speak() -> None:
        for piece in said[1:]:
            await trio.sleep(pause)
            await trio.testing.wait_all_tasks_blocked()
            await near.send_all(piece)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(speak)
            await server.serve(far, data=said[0], alpn="http/1.1", tls=False, client=HERE, server=HERE)
    return answers


async def test_plain_requests_of_one_connection_are_answered_one_by_one(
    server: HttpServer, hot: Hot, autojump_clock: MockClock
) -> None:
    answers = await talk(server, PLAIN, PLAIN.replace(b"{}", b"[]"), pause=0.1)
    assert [answer.rpartition(b"\r\n")[2] for answer in answers] == [b"<{}>", b"<[]>"]
    for answer in answers:
        head = answer.lower()
        assert head.startswith(b"http/1.1 200 \r\n")
        assert b"\r\nx-for: 192.0.2.1\r\n" in head
        assert b"\r\ncontent-length: 4\r\n" in head
        assert b"\r\ndate: " in head
    assert hot.whole == [True, True]


async def test_a_body_right_behind_its_head_is_waited_for(
    server: HttpServer, hot: Hot, autojump_clock: MockClock
) -> None:
    [answer] = await talk(server, HEAD + b"\r\n", b"{}")
    assert answer.endswith(b"<{}>")
    assert hot.whole == [True]


async def test_bodies_that_come_together_are_let_in_a_few_a_turn(
    server: HttpServer, hot: Hot, autojump_clock: MockClock
) -> None:
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    hot.on_call = lambda: seen.append(turns.count)
    seen: list[int] = []
    pairs = [memory_stream_pair() for _ in range(9)]
    async with trio.open_nursery() as nursery:
        for _, far in pairs:
            serve = partial(server.serve, data=HEAD + b"\r\n", alpn="http/1.1", tls=False, client=HERE, server=HERE)
            nursery.start_soon(serve, far)
        await trio.testing.wait_all_tasks_blocked()
        for near, _ in pairs:
            nursery.start_soon(near.send_all, b"{}")
        await trio.testing.wait_all_tasks_blocked()
        for near, _ in pairs:
            await near.aclose()
    trio.lowlevel.remove_instrument(turns)
    assert len(seen) == 9
    assert max(map(seen.count, seen)) == CONFIG.limits.http_reads_per_turn
    assert all(hot.whole)


@pytest.mark.parametrize("pieces", [(PLAIN[:-1], PLAIN[-1:]), (HEAD + b"\r\n", b"{}"), (PLAIN[:20], PLAIN[20:])])
async def test_what_comes_slowly_is_read_by_hypercorn(
    server: HttpServer, hot: Hot, autojump_clock: MockClock, pieces: tuple[bytes, bytes]
) -> None:
    answer = b"".join(await talk(server, *pieces, pause=1.0))
    assert b"<{}>" in answer
    assert hot.whole == [False]


async def test_requests_of_both_kinds_share_a_connection(
    server: HttpServer, hot: Hot, autojump_clock: MockClock
) -> None:
    other = PLAIN.replace(b"Host", b"Connection: keep-alive, x\r\nHost")
    answer = b"".join(await talk(server, PLAIN, other, PLAIN, PLAIN + PLAIN, pause=0.1))
    assert answer.count(b"<{}>") == 5
    assert hot.whole == [True, False, True, False, False]


async def test_a_node_that_leaves_ends_the_connection_behind_the_answer(
    server: HttpServer, autojump_clock: MockClock
) -> None:
    server.say_leaving()
    [answer] = await talk(server, PLAIN, PLAIN, pause=0.1)
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_fault_is_answered_and_the_connection_goes_on(
    server: HttpServer, hot: Hot, autojump_clock: MockClock
) -> None:
    answers = await talk(server, PLAIN.replace(b"/hot", b"/fault"), PLAIN, pause=0.1)
    assert answers[0].startswith(b"HTTP/1.1 500 ")
    assert b"application/problem+json" in answers[0]
    assert answers[1].startswith(b"HTTP/1.1 200 ")


async def test_the_app_can_serve_a_plain_request_too(server: HttpServer, hot: Hot, autojump_clock: MockClock) -> None:
    answers = await talk(server, PLAIN.replace(b"/hot", b"/app"), PLAIN, pause=0.1)
    assert [answer.rpartition(b"\r\n")[2] for answer in answers] == [b"{}", b"<{}>"]
    assert answers[0].lower().count(b"content-length") == 1
    assert hot.whole == [True, True]
