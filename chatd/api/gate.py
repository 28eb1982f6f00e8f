"""What every HTTP request passes before the app: whose address it is, the rate of that address, and being counted."""

from collections.abc import Callable
from typing import Any

import msgspec
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope

from chatd.api.pages import is_page_path
from chatd.api.problems import Problem, problem, problem_headers
from chatd.counters import Counters
from chatd.limits import AddressLimiter
from chatd.proxy import TrustedProxies
from protocol.codes import ErrorCode

ANSWER_SECONDS = 5.0
"""How long a client may take to take a refusal."""


class Gate:
    """Lets requests through to the app. It is where they are refused cheaply, and where those under way are known."""

    def __init__(
        self, app: ASGIFramework, limiter: AddressLimiter, proxies: TrustedProxies, counters: Counters
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._proxies = proxies
        self._counters = counters
        self._under_way = 0
        self._all_done = trio.Event()
        self.is_draining = False

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        """Serve one request, or the app's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._pass(scope, receive, self._counting(scope, send))
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._all_done.set()

    async def wait_all_done(self) -> None:
        """Return when no request is under way."""
        while self._under_way:
            self._all_done = trio.Event()
            await self._all_done.wait()

    async def _pass(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        peer, port = scope["client"] or ("", 0)
        headers = ((name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"])
        address = self._proxies.client_address(peer, headers)
        path = _path(scope["path"])
        is_page = path is not None and scope["method"] in ("GET", "HEAD") and is_page_path(path)
        refusal = None if is_page else self._limiter.request(address, trio.current_time())
        if refusal is not None:
            reason = "more requests a second than the limits allow"
            await _answer(send, problem(ErrorCode.RATE_LIMITED, reason, refusal.retry_after))
            return
        if path is None:
            await _answer(send, problem(ErrorCode.BAD_REQUEST, "the request's target is no path"))
            return
        scope["path"] = path
        scope["client"] = (address, port)
        await self._app(scope, receive, send)

    def _counting(self, scope: HTTPScope, send: ASGISendCallable) -> ASGISendCallable:
        """Count answers by their status; while the node is leaving, ask for the connection to be closed."""

        async def counting_send(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                self._counters.http_requests[event["status"]] += 1
                if self.is_draining and scope["http_version"] < "2":
                    event["headers"] = [*event["headers"], (b"connection", b"close")]
            await send(event)

        return counting_send


def _path(target: str) -> str | None:
    """Return the path in a request's target; None if there is none.

    RFC 9112 section 3.2.2 has servers accept the whole URL that is meant for proxies.
    """
    scheme, found, rest = target.partition("://")
    if found and scheme in ("http", "https"):
        authority, _, path = rest.partition("/")
        return "/" + path if authority else None
    return target if target.startswith("/") else None


async def _answer(send: ASGISendCallable, described: Problem) -> None:
    content = msgspec.json.encode(described)
    headers = [(name.lower().encode(), value.encode()) for name, value in problem_headers(described).items()]
    headers.append((b"content-length", b"%d" % len(content)))
    with trio.move_on_after(ANSWER_SECONDS):
        await send({"type": "http.response.start", "status": described.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})
