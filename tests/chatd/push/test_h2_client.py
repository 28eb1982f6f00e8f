"""The HTTP/2 client: many requests on few connections, and every way in which the other side may let it down."""

import ssl
from pathlib import Path

import pytest
import trio

from chatd.push.h2_client import BODY_BYTES, Answer, ConnectionFailed, H2Bounds, H2Client, NotHttp2
from tests.chatd.push.conftest import BOUNDS, Serve
from tests.rig.push_servers.http2 import Http2Server, Reply, Request

PATIENCE_SECONDS = 10.0


async def echo(request: Request) -> Reply:
    return Reply(200, request.body, {"x-path": request.path})


def open_client(server: Http2Server, tls: ssl.SSLContext, nursery: trio.Nursery, bounds: H2Bounds = BOUNDS) -> H2Client:
    return H2Client("localhost", server.port, tls, bounds, nursery)


class Gate:
    """Lets no request be answered before it is opened."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.came = 0
        self.changed = trio.Condition()

    async def answer(self, request: Request) -> Reply:
        async with self.changed:
            self.came += 1
            self.changed.notify_all()
        await self.opened.wait()
        return await echo(request)

    async def until(self, count: int) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            async with self.changed:
                while self.came < count:
                    await self.changed.wait()


async def test_a_request_arrives_as_it_was_sent(serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery) -> None:
    server = await serve(echo)
    client = open_client(server, tls, nursery)
    answer = await client.post("/a?b=c", [(b"x-one", b"1")], b"hello")
    assert answer == Answer(200, {":status": "200", "x-path": "/a?b=c"}, b"hello")
    [request] = server.requests
    assert (request.method, request.headers) == ("POST", {"x-one": "1", "content-length": "5"})


async def test_many_requests_share_few_connections(serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery) -> None:
    gate = Gate()
    server = await serve(gate.answer)
    client = open_client(server, tls, nursery)
    answers: dict[int, Answer] = {}

    async def ask(number: int) -> None:
        answers[number] = await client.post("/", [], b"%d" % number)

    async with trio.open_nursery() as asking:
        for number in range(150):
            asking.start_soon(ask, number)
        await gate.until(150)
        assert (server.connections, client.connections, client.load) == (2, 2, 150)
        gate.opened.set()
    assert {number: int(answer.body) for number, answer in answers.items()} == {n: n for n in range(150)}


async def test_no_more_requests_are_under_way_than_the_other_side_allows(
    serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    gate = Gate()
    server = await serve(gate.answer, streams=1)
    client = open_client(server, tls, nursery, H2Bounds(connections=1))
    async with trio.open_nursery() as asking:
        asking.start_soon(client.post, "/", [], b"")
        await gate.until(1)  # the client knows the settings when it has been read from
        await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(9):
            asking.start_soon(client.post, "/", [], b"")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert gate.came == 1
        await server.allow_streams(4)
        await gate.until(4)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert gate.came == 4
        gate.opened.set()
    assert server.most_in_flight == 4


async def test_more_bodies_than_the_window_holds_wait_for_room(
    serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    async def take(request: Request) -> Reply:
        return Reply(200)

    server = await serve(take)
    client = open_client(server, tls, nursery, H2Bounds(connections=1))
    body = b"x" * BODY_BYTES
    async with trio.open_nursery() as asking:
        for _ in range(20):
            asking.start_soon(client.post, "/", [], body)
    assert [len(request.body) for request in server.requests] == [BODY_BYTES] * 20
    with pytest.raises(ValueError, match="16384 bytes"):
        await client.post("/", [], body + b"x")


async def test_a_connection_that_says_goodbye_is_replaced_and_its_requests_are_answered(
    serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    gate = Gate()
    server = await serve(gate.answer)
    client = open_client(server, tls, nursery)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await client.post("/", [], b""))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await gate.until(1)
        await server.say_goodbye(b'{"reason":"Shutdown"}')
        await trio.testing.wait_all_tasks_blocked(0.01)
        asking.start_soon(ask)
        await gate.until(2)
        gate.opened.set()
    assert [answer.status for answer in answers] == [200, 200]
    assert [request.connection for request in server.requests] == [1, 2]


async def test_a_broken_connection_fails_its_requests_and_the_next_one_opens_another(
    serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    gate = Gate()
    server = await serve(gate.answer)
    client = open_client(server, tls, nursery)
    async with trio.open_nursery() as breaking:

        async def break_it() -> None:
            await gate.until(1)
            await server.hang_up()

        breaking.start_soon(break_it)
        with pytest.raises(ConnectionFailed):
            await client.post("/", [], b"")
    gate.opened.set()
    assert (await client.post("/", [], b"")).status == 200
    assert server.connections == 2


async def test_no_answer_in_time_is_a_failure_and_a_silent_connection_is_not_used_again(
    serve: Serve, tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    gate = Gate()
    server = await serve(gate.answer)
    client = open_client(server, tls, nursery, H2Bounds(request_seconds=0.2))
    with pytest.raises(ConnectionFailed, match="in time"):
        await client.post("/", [], b"")
    gate.opened.set()
    assert (await client.post("/", [], b"")).status == 200


async def test_a_port_that_nobody_listens_on_is_a_failure(tls: ssl.SSLContext, nursery: trio.Nursery) -> None:
    client = H2Client("localhost", 1, tls, BOUNDS, nursery)
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await client.post("/", [], b"")


async def test_a_certificate_of_somebody_else_is_refused(serve: Serve, nursery: trio.Nursery) -> None:
    server = await serve(echo)
    client = open_client(server, ssl.create_default_context(), nursery)
    with pytest.raises(ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
        await client.post("/", [], b"")


async def test_a_host_without_http2_is_told_apart(
    certificate: tuple[Path, Path], tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(*certificate)

    async def accept(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with trio.move_on_after(PATIENCE_SECONDS):
            await stream.receive_some()

    listeners = await trio.open_ssl_over_tcp_listeners(0, server_tls, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, accept, listeners)
    port = listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
    client = H2Client("localhost", port, tls, BOUNDS, nursery)
    with pytest.raises(NotHttp2):
        await client.post("/", [], b"")
