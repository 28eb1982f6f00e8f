"""What every HTTP request passes before the app: whose address and key it is, the rate of these, and being counted."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope

from chatd.api.cors import Cors, Headers
from chatd.api.pages import is_page_path
from chatd.api.passage import Passage, begin_passage
from chatd.api.problems import Problem, problem, problem_headers
from chatd.backend.caller import Caller
from chatd.counters import Counters
from chatd.limits import AddressLimiter, Standing
from chatd.proxy import TrustedProxies
from chatd.rates import rate_headers
from protocol.codes import ErrorCode

ANSWER_SECONDS = 5.0
"""How long a client may take to take a refusal."""

SERVER_PREFIX = "/v1/server/"

_log = structlog.get_logger("http")

_RATE_REASON = "more requests a second than the limits allow"


class KeyDesk(Protocol):
    """Knows API keys, and what each has used."""

    def known_caller(self, text: str) -> Caller | None:
        """Return what a key may do that is known and valid; None for all others."""

    async def request(self, caller: Caller) -> Standing:
        """Count one request of a key."""


class HotRoute(Protocol):
    """Serves requests that come so often that they do not go through the app."""

    def matches(self, method: str, path: str) -> bool:
        """Tell whether this is such a request."""

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve it."""


class Gate:
    """Lets requests through to the app. It is where they are refused cheaply, and where those under way are known."""

    def __init__(
        self,
        app: ASGIFramework,
        limiter: AddressLimiter,
        proxies: TrustedProxies,
        counters: Counters,
        keys: KeyDesk,
        hot: HotRoute,
        cors: Cors,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._proxies = proxies
        self._counters = counters
        self._keys = keys
        self._hot = hot
        self._cors = cors
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
            passage = begin_passage(scope)
            await self._pass(scope, passage, receive, self._finishing(scope, passage, send))
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._all_done.set()

    async def wait_all_done(self) -> None:
        """Return when no request is under way."""
        while self._under_way:
            self._all_done = trio.Event()
            await self._all_done.wait()

    async def _pass(
        self, scope: HTTPScope, passage: Passage, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        peer, port = scope["client"] or ("", 0)
        headers = ((name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"])
        address = self._proxies.client_address(peer, headers)
        path = _path(scope["path"])
        wait = await self._wait(scope, passage, address, path)
        if wait:
            await _answer(send, problem(ErrorCode.RATE_LIMITED, _RATE_REASON, wait))
            return
        if path is None:
            await _answer(send, problem(ErrorCode.BAD_REQUEST, "the request's target is no path"))
            return
        preflight = self._cors.preflight_headers(scope["method"], list(scope["headers"]))
        if preflight is not None:
            await _say(send, 204, [], b"")
            return
        scope["path"] = path
        scope["client"] = (address, port)
        if self._hot.matches(scope["method"], path):
            await self._hot(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _wait(self, scope: HTTPScope, passage: Passage, address: str, path: str | None) -> float:
        """Count the request; return the seconds to wait if it is one too many, else 0.0.

        Who shows a key that is known and valid counts by the key, wherever it comes from; all others by their address,
        so that guessing keys is bounded too.
        """
        if path is not None and path.startswith(SERVER_PREFIX):
            passage.caller = self._keys.known_caller(_bearer(scope))
            if passage.caller is not None:
                standing = await self._keys.request(passage.caller)
                passage.standings.append(standing)
                return standing.wait
        if path is not None and scope["method"] in ("GET", "HEAD") and is_page_path(path):
            return 0.0
        refusal, standing = self._limiter.request(address, trio.current_time())
        passage.standings.append(standing)
        return refusal.retry_after if refusal is not None else 0.0

    def _finishing(self, scope: HTTPScope, passage: Passage, send: ASGISendCallable) -> ASGISendCallable:
        """Count answers by their status and add what all have to say: rates, CORS, and that the node is leaving."""

        async def finishing_send(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                self._counters.http_requests[event["status"]] += 1
                if event["status"] >= 400:
                    peer = (scope["client"] or ("",))[0]
                    _log.debug("request failed", peer=peer, path=scope["path"], status=event["status"])
                event["headers"] = [*event["headers"], *self._more_headers(scope, passage)]
            await send(event)

        return finishing_send

    def _more_headers(self, scope: HTTPScope, passage: Passage) -> Headers:
        headers = [(name.lower().encode(), value.encode()) for name, value in rate_headers(passage.standings)]
        preflight = self._cors.preflight_headers(scope["method"], list(scope["headers"]))
        headers += self._cors.answer_headers(scope["headers"]) if preflight is None else preflight
        if self.is_draining and scope["http_version"] < "2":
            headers.append((b"connection", b"close"))
        return headers


def _path(target: str) -> str | None:
    """Return the path in a request's target; None if there is none.

    RFC 9112 section 3.2.2 has servers accept the whole URL that is meant for proxies.
    """
    scheme, found, rest = target.partition("://")
    if found and scheme in ("http", "https"):
        authority, _, path = rest.partition("/")
        return "/" + path if authority else None
    return target if target.startswith("/") else None


def _bearer(scope: HTTPScope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip().decode("latin1")
    return ""


async def _answer(send: ASGISendCallable, described: Problem) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in problem_headers(described).items()]
    await _say(send, described.status, headers, msgspec.json.encode(described))


async def _say(send: ASGISendCallable, status: int, headers: Headers, content: bytes) -> None:
    if content:
        headers.append((b"content-length", b"%d" % len(content)))
    with trio.move_on_after(ANSWER_SECONDS):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})
