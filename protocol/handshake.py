"""The opening handshake of a WebSocket (RFC 6455 section 4, RFC 7692 section 7): a request's head in, the answer out.

The grammar of headers is `websockets`'; the order of the checks, the origins and the compression that is agreed on are
chatd's. Answers that refuse carry a problem document (RFC 9457) and end the connection.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeaderFormat
from websockets.headers import parse_connection, parse_extension, parse_subprotocol
from websockets.utils import accept_key

from protocol.codes import ErrorCode

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"

# Method, target and version; no control characters or spaces in the target, and ASCII alone (RFC 3986).
_request_line = re.compile(rf"({_TOKEN}) ([\x21-\x7e]+) HTTP/1\.([01])").fullmatch

# Name and value. There is no folding (RFC 9112 section 5.2).
_header_line = re.compile(rf"({_TOKEN}):([\t\x20-\x7e\x80-\xff]*)").fullmatch

_HEADERS = 128
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}

# What a 426 must say (RFC 9110 section 15.5.22, RFC 6455 section 4.4).
_UPGRADE = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))

# The values of a window that RFC 7692 section 7.1.2 knows: decimal, without leading zeros.
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}


class HandshakeError(Exception):
    """The bytes are no head of an HTTP/1 request. Carries the HTTP status and the reason to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class RequestHead(msgspec.Struct, frozen=True):
    """The request line and headers of one HTTP request. `path` has no query and is not unquoted."""

    method: str
    path: str
    query: str
    version: str
    headers: Headers


class HandshakePolicy(msgspec.Struct, frozen=True):
    """What a WebSocket route agrees to: from which pages, with compression or not, in which subprotocols."""

    allowed_origins: tuple[str, ...]
    deflate: bool
    subprotocols: tuple[str, ...]


class Accepted(msgspec.Struct, frozen=True):
    """The connection becomes a WebSocket when the response is sent. `window_bits` is 0 without compression."""

    response: bytes
    subprotocol: str | None
    window_bits: int


class Rejected(msgspec.Struct, frozen=True):
    """The connection ends when the response is sent."""

    response: bytes
    status: int
    reason: str


def parse_head(head: bytes) -> RequestHead:
    """Read the head of a request, with or without the empty line that ends it.

    Raises:
        HandshakeError: It is no head of HTTP/1.0 or 1.1.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    match = _request_line(first)
    if match is None:
        raise HandshakeError(400, "the request line is malformed")
    method, target, minor = match.groups()
    if len(lines) > _HEADERS:
        raise HandshakeError(431, f"the request has more than {_HEADERS} headers")
    headers = Headers()
    for line in lines:
        match = _header_line(line)
        if match is None:
            raise HandshakeError(400, "a header is malformed")
        name, value = match.groups()
        headers.set_insecure(name, value.strip(" \t"))
    path, _, query = target.partition("?")
    return RequestHead(method, path, query, f"1.{minor}", headers)


def is_upgrade(head: RequestHead) -> bool:
    """Tell whether the request asks for a WebSocket, however badly."""
    return any("websocket" in value.lower() for value in head.headers.get_all("Upgrade"))


def accept(head: RequestHead, policy: HandshakePolicy) -> Accepted | Rejected:
    """Answer a request for a WebSocket."""
    try:
        key = _check_request(head)
        _check_origin(head.headers, policy.allowed_origins)
        extension, window_bits = _agree_on_deflate(head.headers) if policy.deflate else ("", 0)
        subprotocol = _choose_subprotocol(head.headers, policy.subprotocols)
    except _Refusal as refusal:
        return reject(refusal.status, refusal.reason, refusal.code, refusal.headers)
    except InvalidHeaderFormat as error:
        return reject(400, f"{error}")
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
    ]
    if extension:
        lines.append(f"Sec-WebSocket-Extensions: {extension}")
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return Accepted("\r\n".join((*lines, "\r\n")).encode(), subprotocol, window_bits)


def reject(
    status: int, reason: str, code: ErrorCode = ErrorCode.BAD_REQUEST, headers: Iterable[tuple[str, str]] = ()
) -> Rejected:
    """Make a complete answer that refuses the request and ends the connection."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": reason, "code": int(code)}
    )
    lines = [
        f"HTTP/1.1 {status} {title}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return Rejected("\r\n".join((*lines, "\r\n")).encode() + body, status, reason)


class _Refusal(Exception):
    def __init__(
        self,
        status: int,
        reason: str,
        code: ErrorCode = ErrorCode.BAD_REQUEST,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.code = code
        self.headers = headers


def _check_request(head: RequestHead) -> str:
    """Check everything that RFC 6455 section 4.2.1 asks of a request; return its key."""
    headers = head.headers
    if head.method != "GET":
        raise _Refusal(405, "a WebSocket begins with GET", ErrorCode.METHOD_NOT_ALLOWED, (("Allow", "GET"),))
    if head.version != "1.1":
        raise _Refusal(505, "a WebSocket begins with HTTP/1.1")
    _only(headers, "Host")
    if "Transfer-Encoding" in headers or headers.get_all("Content-Length") not in ([], ["0"]):
        raise _Refusal(400, "a WebSocket begins with a request without a body")
    upgrade = _only(headers, "Upgrade")
    options = [option.lower() for value in headers.get_all("Connection") for option in parse_connection(value)]
    if upgrade.lower() != "websocket" or "upgrade" not in options:
        raise _Refusal(426, "`Upgrade: websocket` and `Connection: Upgrade` are needed", headers=_UPGRADE)
    key = _only(headers, "Sec-WebSocket-Key")
    if not _is_key(key):
        raise _Refusal(400, "`Sec-WebSocket-Key` is not 16 bytes in base64")
    if _only(headers, "Sec-WebSocket-Version") != "13":
        raise _Refusal(426, "the WebSocket version is 13", headers=_UPGRADE)
    return key


def _only(headers: Headers, name: str) -> str:
    """Return the value of a header that must be there once."""
    values = headers.get_all(name)
    if len(values) != 1:
        raise _Refusal(400, f"`{name}` is " + ("given more than once" if values else "missing"))
    return values[0]


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


def _check_origin(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Check from which page a browser comes; what sends no `Origin` is no browser, and no page can make it connect."""
    origins = headers.get_all("Origin")
    if not origins or "*" in allowed:
        return
    if len(origins) > 1:
        raise _Refusal(400, "`Origin` is given more than once")
    origin = origins[0].lower()
    if origin in map(str.lower, allowed) or ("same" in allowed and _is_same(origin, headers["Host"].lower())):
        return
    raise _Refusal(403, "pages of this origin may not connect", ErrorCode.FORBIDDEN)


def _is_same(origin: str, host: str) -> bool:
    """Compare host and port. The scheme may differ from ours: TLS may end at a proxy."""
    scheme, separator, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    return bool(separator) and default is not None and _with_port(authority, default) == _with_port(host, default)


def _with_port(authority: str, default: str) -> str:
    return authority if re.search(r":\d+$", authority) else f"{authority.removesuffix(':')}:{default}"


def _choose_subprotocol(headers: Headers, ours: tuple[str, ...]) -> str | None:
    """Choose the first of the client's subprotocols that is ours."""
    if not ours:
        return None
    offered = [name for value in headers.get_all("Sec-WebSocket-Protocol") for name in parse_subprotocol(value)]
    if not offered:
        return None
    for name in offered:
        if name in ours:
            return name
    raise _Refusal(400, "none of the subprotocols is known: " + ", ".join(ours))


def _agree_on_deflate(headers: Headers) -> tuple[str, int]:
    """Take the first offer of permessage-deflate that can be kept; return the answer and the window for our side."""
    for value in headers.get_all("Sec-WebSocket-Extensions"):
        for name, parameters in parse_extension(value):
            if name == "permessage-deflate":
                agreed = _answer_offer(parameters)
                if agreed is not None:
                    return agreed
    return "", 0


def _answer_offer(parameters: Sequence[tuple[str, str | None]]) -> tuple[str, int] | None:
    """Answer one offer, or decline it (RFC 7692 section 7.1: unknown, repeated or malformed parameters)."""
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    answer = ["permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"]
    window_bits = 15
    for name, value in parameters:
        match name:
            case "server_no_context_takeover" | "client_no_context_takeover" if value is None:
                pass
            case "server_max_window_bits" if value in _WINDOW_BITS:
                window_bits = _WINDOW_BITS[value]
                answer.append(f"{name}={value}")
            case "client_max_window_bits" if value in _WINDOW_BITS:
                answer.append(f"{name}={value}")
            case "client_max_window_bits" if value is None:
                pass  # the client could use a smaller window; we need none
            case _:
                return None
    return "; ".join(answer), window_bits
