"""Pushes by a program of the operator's, over HTTP/2 and HTTP/1.1."""

import msgspec
import pytest
import trio

from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.http import Http
from chatd.push.webhook import PushHook
from chatd.webhooks.signing import Signer, parse_key
from tests.chatd.push.conftest import Serve
from tests.chatd.push.tokens import notification, push_token
from tests.fakes.hand_clock import HandClock
from tests.rig.push_servers.http2 import Reply, Request

SIGNER = Signer([parse_key("whsec_" + "QUJD" * 8)])


class Program:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.reply = Reply(204)
        self.requests: list[Request] = []

    async def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.reply


async def test_a_notification_is_signed_and_names_the_device(serve: Serve, http: Http, clock: HandClock) -> None:
    program = Program()
    server = await serve(program.answer)
    hook = PushHook(http, clock, f"{server.url}/push", SIGNER)
    token = push_token("webhook", "their-own-name", details={"shop": "1"})
    assert await hook.send(notification(clock.now), token) == Delivered()
    [request] = program.requests
    said = msgspec.json.decode(request.body)
    assert (said["user"], said["device"], said["token"]) == ("bob", "phone", "their-own-name")
    assert (said["details"], said["notification"]["title"]) == ({"shop": "1"}, "alice")
    expected = SIGNER.headers(request.headers["webhook-id"], int(clock.now), request.body)
    assert {name: request.headers[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(410), Gone("410")),
        (Reply(429, b"", {"retry-after": "2"}), Throttled("429", 2.0, everybody=True)),
        (Reply(503, b"", {"retry-after": "2"}), Unavailable("503", 2.0)),
        (Reply(401), Unavailable("401")),
        (Reply(404), Unavailable("404")),
        (Reply(422), Rejected("422")),
    ],
)
async def test_what_the_program_says_is_understood(
    serve: Serve, http: Http, clock: HandClock, reply: Reply, outcome: Outcome
) -> None:
    program = Program()
    program.reply = reply
    server = await serve(program.answer)
    hook = PushHook(http, clock, server.url, None)
    assert await hook.send(notification(clock.now), push_token("webhook")) == outcome
    assert "webhook-signature" not in program.requests[0].headers


async def test_a_program_without_http2_and_tls_is_reached_too(
    http: Http, clock: HandClock, nursery: trio.Nursery
) -> None:
    heard: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        data = b""
        while b"their-name" not in data:
            data += await stream.receive_some()
        heard.append(data)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    port = listener.socket.getsockname()[1]
    hook = PushHook(http, clock, f"http://127.0.0.1:{port}/push", None)
    assert await hook.send(notification(clock.now), push_token("webhook", "their-name")) == Delivered()
    assert heard[0].startswith(b"POST /push HTTP/1.1\r\n")
