"""Publishing one message without the app: the one route that backends call a thousand times a second.

Quart costs about 400 µs a request, most of it to find the route and to build what a route may ask of a request. This
route asks for three headers and the body. The app has the same route behind it, with the same function
(chatd/api/server/publish.py), for its description and for tests without this one.
"""

import re

import msgspec
import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from quart_trio import QuartTrio

from chatd.api.express import whole_body
from chatd.api.passage import passage_of
from chatd.api.problems import ApiError, Problem, problem, problem_headers, problem_of
from chatd.api.server.publish import publish_one
from chatd.backend.build import Backend
from chatd.config import Limits
from protocol.codes import ErrorCode

_PATH = re.compile(r"/v1/server/channels/([^/]+)/messages")
_encode = msgspec.json.Encoder().encode
_OK_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]

_log = structlog.get_logger("api")


class HotPublish:
    """Serves `POST /v1/server/channels/{channel}/messages` to keys that are known; all else is the app's."""

    def __init__(self, app: QuartTrio, backend: Backend, limits: Limits) -> None:
        self._app = app
        self._backend = backend
        self.bound(limits)

    def bound(self, limits: Limits) -> None:
        """Hold requests that begin from now on to these limits."""
        self._body_bytes = limits.http_body_bytes
        self._body_seconds = limits.http_body_seconds

    def matches(self, method: str, path: str) -> bool:
        """Tell whether this is such a request."""
        return method == "POST" and path.startswith("/v1/server/channels/") and _PATH.fullmatch(path) is not None

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one."""
        caller = passage_of(scope).caller
        match = _PATH.fullmatch(scope["path"])
        if caller is None or match is None:
            await self._app(scope, receive, send)
            return
        header = next((value.decode("latin1") for name, value in scope["headers"] if name == b"idempotency-key"), None)
        try:
            raw = await self._read(scope, receive)
            if raw is None:
                return  # the client is gone
            content = _encode(await publish_one(self._backend, caller, match[1], raw, header))
            status, headers = 200, [*_OK_HEADERS, (b"content-length", b"%d" % len(content))]
        except Exception as error:
            described = problem_of(error)
            if described is None:
                _log.error("a request failed", exc_info=error)
                described = problem(ErrorCode.INTERNAL, "a fault in chatd; it is in its log")
            status, content, headers = _refusal(described)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _read(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> bytes | None:
        """Return the body; None if the client left."""
        whole = whole_body(scope)
        if whole is not None:
            self._check_size(len(whole))
            return whole
        parts: list[bytes] = []
        size = 0
        with trio.move_on_after(self._body_seconds):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                parts.append(event["body"])
                size += len(event["body"])
                self._check_size(size)
                if not event["more_body"]:
                    return parts[0] if len(parts) == 1 else b"".join(parts)
        raise ApiError(ErrorCode.TIMEOUT, "the body did not arrive in time", status=408)

    def _check_size(self, size: int) -> None:
        if size > self._body_bytes:
            raise ApiError(ErrorCode.TOO_LARGE, f"a body may have {self._body_bytes} bytes")


def _refusal(described: Problem) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    content = _encode(described)
    headers = [(name.lower().encode(), value.encode()) for name, value in problem_headers(described).items()]
    return described.status, content, [*headers, (b"content-length", b"%d" % len(content))]
