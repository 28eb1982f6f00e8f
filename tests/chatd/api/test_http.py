"""The HTTP server on real sockets: both versions, bodies that misbehave, WebSockets that come here, and leaving."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import h2.settings
import httpx
import msgspec
import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from chatd.api.app import build_app
from chatd.api.http import HttpServer
from chatd.api.services import Services
from chatd.counters import Counters
from chatd.limits import AddressLimiter
from protocol.codes import ErrorCode
from tests.chatd.api.conftest import CONFIG
from tests.fakes.certificate import client_context, make_certificate
from tests.fakes.keyless import KEYLESS

pytestmark = pytest.mark.system

BAD_HEADS = [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 20_000,
]


class Site:
    """A server on a free port of the loopback, and what its listener does for it."""

    def __init__(self, app: QuartTrio, *, server: dict[str, Any] | None = None, **limits: object) -> None:
        self.config = msgspec.structs.replace(
            CONFIG,
            limits=msgspec.structs.replace(CONFIG.limits, **limits),
            server=msgspec.structs.replace(CONFIG.server, trusted_proxies=("127.0.0.2",), **server or {}),
        )
        self.counters = Counters()
        self.server = HttpServer(app, self.config, AddressLimiter(self.config.limits), self.counters, *KEYLESS)
        self.stop = trio.CancelScope()
        self.stopped = trio.Event()
        self.served = trio.Event()
        self.port = 0
        self.handle: Callable[[trio.SocketStream], Awaitable[None]] = self.serve_plain
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def serve_plain(self, stream: trio.SocketStream) -> None:
        first = bytes(await stream.receive_some(3))
        await self._serve(stream, stream, first, "http/1.1")

    async def serve_tls(self, stream: trio.SocketStream) -> None:
        assert self.tls is not None
        secure = trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)
        await secure.do_handshake()
        await self._serve(secure, stream, b"", secure.selected_alpn_protocol() or "http/1.1")

    async def _serve(self, stream: trio.abc.Stream, bottom: trio.SocketStream, data: bytes, alpn: str) -> None:
        data = data or bytes(await stream.receive_some(100))
        client, here = bottom.socket.getpeername(), bottom.socket.getsockname()
        await self.server.serve(stream, data=data, alpn=alpn, tls=self.tls is not None, client=client, server=here)
        self.served.set()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_server)
            listeners = await nursery.start(partial(trio.serve_tcp, self.handle, 0, host="127.0.0.1"))
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()
            await self.stopped.wait()
            nursery.cancel_scope.cancel()

    async def _run_server(self, task_status: trio.TaskStatus[None]) -> None:
        with self.stop:
            await self.server.run(task_status=task_status)
        self.stopped.set()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    """Run a site for as long as the block, which must not take long."""
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            await nursery.start(site.run)
            yield site
            site.stop.cancel()


class Slowly:
    """A route that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.may_answer = trio.Event()


@pytest.fixture
def slowly() -> Slowly:
    return Slowly()


@pytest.fixture
def app(services: Services, tmp_path: Path, slowly: Slowly) -> QuartTrio:
    app = build_app(services, tmp_path)

    @app.get("/slow")
    async def slow() -> Response:
        slowly.asked.set()
        await slowly.may_answer.wait()
        return Response(b"x" * 100_000)

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * 20_000_000)

    @app.get("/address")
    async def address() -> Response:
        return Response(request.remote_addr or "")

    return app


def _secure(site: Site, folder: Path) -> ssl.SSLContext:
    certificate, key = make_certificate(folder)
    site.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    site.tls.load_cert_chain(certificate, key)
    site.tls.set_alpn_protocols(["h2", "http/1.1"])
    site.handle = site.serve_tls
    return client_context(certificate)


async def test_requests_follow_each_other_on_one_plain_connection(app: QuartTrio) -> None:
    async with running(Site(app)) as site, httpx.AsyncClient(base_url=site.url) as client:
        for _ in range(3):
            response = await client.get("/healthz")
            assert (response.status_code, response.http_version) == (200, "HTTP/1.1")
            assert "server" not in response.headers
        assert site.server.connections == 1
        assert site.counters.http_requests[200] == 3


@pytest.mark.parametrize("http2", [True, False])
async def test_both_versions_speak_over_tls(app: QuartTrio, tmp_path: Path, http2: bool) -> None:
    site = Site(app)
    context = _secure(site, tmp_path)
    async with running(site), httpx.AsyncClient(base_url=site.url, verify=context, http2=http2) as client:
        guest = (await client.post("/v1/auth/guest", json={})).json()
        path, bearer = "/v1/channels/room:a/messages", {"Authorization": f"Bearer {guest['access_token']}"}
        responses: list[httpx.Response] = []

        async def send() -> None:
            responses.append(await client.post(path, json={"data": {}}, headers=bearer))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(send)
        assert {response.http_version for response in responses} == {"HTTP/2" if http2 else "HTTP/1.1"}
        assert sorted(response.json()["seq"] for response in responses) == list(range(1, 21))


@pytest.mark.parametrize("http2", [True, False])
async def test_a_body_that_is_too_large_is_refused_with_an_answer_that_arrives(
    app: QuartTrio, tmp_path: Path, http2: bool
) -> None:
    site = Site(app)
    context = _secure(site, tmp_path)
    async with running(site), httpx.AsyncClient(base_url=site.url, verify=context, http2=http2) as client:
        response = await client.post("/v1/auth/login", content=b"x" * 1_000_000)
        assert (response.status_code, response.json()["code"]) == (413, ErrorCode.TOO_LARGE)
        assert (await client.get("/healthz")).status_code == 200


async def test_a_large_body_over_plain_http_gets_its_answer_too(app: QuartTrio) -> None:
    async with running(Site(app)) as site, httpx.AsyncClient(base_url=site.url) as client:
        response = await client.post("/v1/auth/login", content=b"x" * 3_000_000)
        assert response.status_code == 413


async def test_a_body_that_never_comes_is_cut_off(app: QuartTrio) -> None:
    async with running(Site(app)) as site:
        answer = await _say(site, b"POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"application/problem+json" in answer


@pytest.mark.parametrize("said", BAD_HEADS)
async def test_a_malformed_head_is_answered_with_a_problem(app: QuartTrio, said: bytes) -> None:
    async with running(Site(app)) as site:
        with capture_logs() as logged:
            answer = await _say(site, said)
        assert answer.startswith(b"HTTP/1.1 4")
        assert b"application/problem+json" in answer
        assert [line["event"] for line in logged] in (["request refused"], ["request failed"])


async def test_a_body_whose_length_is_told_in_two_ways_ends_the_connection(app: QuartTrio) -> None:
    head = b"POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n"
    behind = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    async with running(Site(app)) as site:
        answer = await _say(site, head + b"0\r\n\r\n" + behind)
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1


async def test_an_idle_connection_is_closed(app: QuartTrio) -> None:
    async with running(Site(app, http_idle_seconds=0.2)) as site:
        answer = await _say(site, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        unfinished = await _say(site, b"GET /heal")
        assert unfinished == b""


async def test_a_websocket_that_comes_here_is_sent_to_a_new_connection(app: QuartTrio) -> None:
    upgrade = (
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with running(Site(app, http_idle_seconds=0.2)) as site:
        answer = await _say(site, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + upgrade)
        assert b"HTTP/1.1 200" in answer
        assert b"HTTP/1.1 426" in answer
        elsewhere = await _say(site, upgrade.replace(b"/v1/ws", b"/elsewhere"))
        assert elsewhere.startswith(b"HTTP/1.1 404")


async def test_an_upgrade_to_http2_in_the_clear_is_ignored(app: QuartTrio) -> None:
    async with running(Site(app, http_idle_seconds=0.2)) as site:
        answer = await _say(
            site,
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 200")
        assert await _say(site, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") != b""


async def test_websockets_are_not_offered_over_http2(app: QuartTrio, tmp_path: Path) -> None:
    site = Site(app)
    context = _secure(site, tmp_path)
    context.set_alpn_protocols(["h2"])
    async with running(site):
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", site.port, ssl_context=context)
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        await stream.send_all(connection.data_to_send())
        offered = None
        while offered is None:
            for event in connection.receive_data(bytes(await stream.receive_some(65536))):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    offered = event.changed_settings
        assert offered[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value == 0
        await trio.aclose_forcefully(stream)


async def test_who_asks_too_often_is_told_when_to_come_back(app: QuartTrio) -> None:
    site = Site(app, http_requests_per_second=1.0, http_requests_burst=2)
    async with running(site), httpx.AsyncClient(base_url=site.url) as client:
        responses = [await client.get("/healthz") for _ in range(3)]
        assert [response.status_code for response in responses] == [200, 200, 429]
        assert responses[2].json()["code"] == ErrorCode.RATE_LIMITED
        assert responses[2].headers["Retry-After"] == "1"
        assert site.counters.http_requests[429] == 1


async def test_opening_the_page_does_not_use_up_the_rate_of_requests(services: Services, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "main.js").write_text("export const one = 1;")
    site = Site(build_app(services, tmp_path), http_requests_per_second=0.001, http_requests_burst=1)
    async with running(site), httpx.AsyncClient(base_url=site.url) as client:
        for path in ["/", "/static/main.js", "/favicon.ico"] * 10:
            assert (await client.get(path)).status_code == (404 if path == "/favicon.ico" else 200)
        assert (await client.get("/healthz")).status_code == 200
        for method, path in (("GET", "/healthz"), ("POST", "/static/main.js"), ("GET", "/staticfile")):
            assert (await client.request(method, path)).status_code == 429, path


async def test_only_a_trusted_proxy_is_believed_about_an_address(app: QuartTrio) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.9"}
    async with running(Site(app)) as site:
        async with httpx.AsyncClient(base_url=site.url) as client:
            assert (await client.get("/address", headers=forwarded)).text == "127.0.0.1"
        proxy = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(base_url=site.url, transport=proxy) as client:
            assert (await client.get("/address", headers=forwarded)).text == "192.0.2.9"
            assert (await client.get("/address")).text == "127.0.0.2"


async def test_metrics_are_for_the_addresses_that_may_read_them(app: QuartTrio) -> None:
    proxy = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with running(Site(app)) as site, httpx.AsyncClient(base_url=site.url, transport=proxy) as client:
        assert (await client.get("/metrics", headers={"X-Forwarded-For": "::1"})).status_code == 200
        refused = await client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.9"})
        assert (refused.status_code, refused.json()["code"]) == (403, ErrorCode.FORBIDDEN)


@pytest.mark.parametrize("http2", [True, False])
async def test_leaving_finishes_the_requests_under_way_even_without_a_window(
    app: QuartTrio, tmp_path: Path, slowly: Slowly, http2: bool
) -> None:
    site = Site(app, server={"drain_seconds": 0.0})
    context = _secure(site, tmp_path)
    async with running(site), httpx.AsyncClient(base_url=site.url, verify=context, http2=http2) as client:
        responses: list[httpx.Response] = []

        async def ask() -> None:
            responses.append(await client.get("/slow"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await slowly.asked.wait()
            site.stop.cancel()
            await wait_all_tasks_blocked()
            assert not site.stopped.is_set()
            slowly.may_answer.set()
        assert len(responses[0].content) == 100_000
        if not http2:
            assert responses[0].headers["Connection"] == "close"


async def test_a_client_that_reads_nothing_is_cut_off(app: QuartTrio) -> None:
    site = Site(app)
    site.server = HttpServer(
        app,
        msgspec.structs.replace(
            site.config, websocket=msgspec.structs.replace(site.config.websocket, stall_seconds=0.2)
        ),
        AddressLimiter(site.config.limits),
        site.counters,
        *KEYLESS,
    )
    async with running(site):
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await site.served.wait()
        await stream.aclose()


async def test_a_fault_in_one_connection_harms_no_other(app: QuartTrio) -> None:
    class Broken(trio.abc.Stream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise ZeroDivisionError

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            raise ZeroDivisionError

        async def wait_send_all_might_not_block(self) -> None:
            raise NotImplementedError

        async def aclose(self) -> None:
            return

    async with running(Site(app)) as site:
        said = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        where = ("127.0.0.1", 1)
        await site.server.serve(Broken(), data=said, alpn="http/1.1", tls=False, client=where, server=where)
        answer = await _say(site, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")


async def _say(site: Site, said: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", site.port)
    async with stream:
        await stream.send_all(said)
        answer = b""
        while data := await stream.receive_some(65536):
            answer += data
        return answer
