"""HTTP/1.1 requests that come whole and are as plain as can be, without hypercorn and h11: for the hot route only.

For a small request these two do three times the work of all the rest, and as long as one request takes every session
waits. What is not plain to the letter (other headers than usual, a body in chunks, half a request, two of them) is
left to them, and so are all errors in what a client says: nothing is ever refused here for its form.
"""

import re
from collections.abc import Callable
from time import time
from typing import Any
from urllib.parse import unquote
from wsgiref.handlers import format_date_time

import msgspec
import structlog
import trio
from hypercorn.typing import AppWrapper

from chatd.api.problems import problem, problem_headers
from protocol.codes import ErrorCode

Headers = list[tuple[bytes, bytes]]
Takes = Callable[[str, str], bool]
"""Tells by method and path whether a request is for the hot route."""

# RFC 9112 section 3 and RFC 9110 section 5.6.2, without what is rare: other methods, octets outside of ASCII.
_HEAD = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t!-~]*\r\n)+)\r\n")

# What says more about how the request is to be read, or the connection to be used, than is known here.
_NOT_PLAIN = {b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"keep-alive"}

_WHOLE_BODY = "chatd.whole_body"  # of a scope, for who need not wait for the body then
_DIGITS = 9  # of a length; far beyond what one read brings

_log = structlog.get_logger("api")


def whole_body(scope: Any) -> bytes | None:
    """Return the body of a request that came whole; None if it is to be asked for."""
    found: bytes | None = scope.get(_WHOLE_BODY)
    return found


class Plain:
    """A plain request. `missing` is how many bytes of its body have not come yet."""

    __slots__ = ("body", "headers", "missing", "path", "target")

    def __init__(self, target: bytes, headers: Headers, body: bytes, missing: int) -> None:
        self.target = target
        self.path = unquote(target.decode("ascii"))
        self.headers = headers
        self.body = body
        self.missing = missing


def read_plain(data: bytes, head_bytes: int) -> Plain | None:
    """Read a plain request with at most so large a head; None if it is none, or if there is more behind it."""
    match = _HEAD.match(data, 0, head_bytes)
    if match is None or b"?" in match[1]:
        return None
    headers: Headers = []
    size, hosts = -1, 0
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"content-length":
            if size >= 0 or not value.isdigit() or len(value) > _DIGITS:
                return None
            size = int(value)
        elif name == b"host":
            hosts += 1
        elif name in _NOT_PLAIN or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    missing = size - (len(data) - match.end())
    if size < 0 or hosts != 1 or missing < 0:
        return None
    return Plain(match[1], headers, data[match.end() :], missing)


class Express:
    """Runs plain requests through the app, each of them in the task of its connection."""

    def __init__(self, app: AppWrapper, takes: Takes, head_bytes: int) -> None:
        self._app = app
        self._takes = takes
        self._head_bytes = head_bytes
        self._date = b""
        self._date_of = 0

    def read(self, data: bytes) -> Plain | None:
        """Return the request if it is one for here."""
        found = read_plain(data, self._head_bytes)
        return found if found is not None and self._takes("POST", found.path) else None

    async def answer(
        self, plain: Plain, *, tls: bool, client: tuple[str, int], server: tuple[str, int]
    ) -> tuple[bytes, bool]:
        """Return the bytes of the answer, and whether the connection ends behind it."""
        scope: Any = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": "POST",
            "scheme": "https" if tls else "http",
            "path": plain.path,
            "raw_path": plain.target,
            "query_string": b"",
            "root_path": "",
            "headers": plain.headers,
            "client": client,
            "server": server,
            "state": {},
            "extensions": {},
            _WHOLE_BODY: plain.body,
        }
        answer = _Answer()
        try:
            await self._app(scope, _Body(plain.body).receive, answer.send, _no_threads, _no_threads)
        except Exception:
            _log.exception("a request failed")
            answer = _fault()
        return self._bytes(answer), answer.ends

    def _bytes(self, answer: "_Answer") -> bytes:
        lines = [b"HTTP/1.1 %d " % answer.status]
        lines += [b"%b: %b" % field for field in answer.headers]
        lines += [b"content-length: %d" % len(answer.content), b"date: " + self._date_now(), b"", answer.content]
        return b"\r\n".join(lines)

    def _date_now(self) -> bytes:
        now = int(time())
        if now != self._date_of:
            self._date_of, self._date = now, format_date_time(now).encode()
        return self._date


class _Body:
    """What the app is told of one request: all of it at once, and nothing after that."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def receive(self) -> Any:
        """Return the body; whoever waits for more, such as that the client leaves, is cancelled with the request."""
        body, self._body = self._body, None
        if body is None:
            await trio.sleep_forever()
        return {"type": "http.request", "body": body, "more_body": False}


class _Answer:
    """What the app says to one request."""

    __slots__ = ("content", "ends", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.content = b""
        self.ends = False

    async def send(self, event: Any) -> None:
        """Take the head, or a part of the body."""
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = [field for field in event["headers"] if field[0].lower() != b"content-length"]
            self.ends = (b"connection", b"close") in self.headers
        else:
            self.content += event.get("body", b"")


def _fault() -> _Answer:
    answer = _Answer()
    described = problem(ErrorCode.INTERNAL, "a fault in chatd; it is in its log")
    answer.status = described.status
    answer.content = msgspec.json.encode(described)
    answer.headers = [(name.lower().encode(), value.encode()) for name, value in problem_headers(described).items()]
    return answer


def _no_threads(*_: object) -> None:
    raise RuntimeError("the hot route is no synchronous app")
