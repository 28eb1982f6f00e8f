"""What happens to a connection before anybody knows what it wants: its address, its limits, TLS, its first request."""

import socket
from math import ceil

import msgspec
import structlog
import trio

from chatd.counters import Counters
from chatd.limits import AddressLimiter, Refusal
from chatd.link import Link
from chatd.proxy import ProxyError, TrustedProxies, parse_proxy_header
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.handshake import HandshakeError, Rejected, RequestHead, is_upgrade, parse_head, reject

_HEAD_END = b"\r\n\r\n"

# An address over its limits is told so if it says what it wants at once; its connections are not held for long.
_REFUSED_SECONDS = 1.0

# After a refusal the other side has this long to read it and hang up.
_LINGER_SECONDS = 1.0

_log = structlog.get_logger("listener")


class Arrival(msgspec.Struct, frozen=True):
    """The first request of a connection. `head` is None for HTTP/2. `data` is all that was read."""

    head: RequestHead | None
    data: bytes
    rest: bytes
    alpn: str


class Visit:
    """One connection's place in the counts of its address, from when the address is known until `end`."""

    __slots__ = ("_address", "_addresses")

    def __init__(self, addresses: AddressLimiter) -> None:
        self._addresses = addresses
        self._address: str | None = None

    def begin(self, address: str) -> Refusal | None:
        """Count the connection, or say which limit it would pass."""
        refusal = self._addresses.connect(address, trio.current_time())
        if refusal is None:
            self._address = address
        return refusal

    def end(self) -> None:
        """Count it no more."""
        if self._address is not None:
            self._addresses.disconnect(self._address)


class Doorman:
    """Receives connections, within the limits of `config.toml`."""

    def __init__(self, settings: Settings, counters: Counters, *, with_tls: bool) -> None:
        self._settings = settings
        self._counters = counters
        self._with_tls = with_tls
        self._proxies = TrustedProxies(settings.config.server.trusted_proxies)

    async def receive(self, link: Link, visit: Visit) -> Arrival | Rejected:
        """Read the first request; return it, or the answer that refuses the connection.

        Raises:
            OSError: The other side went away.
            ssl.SSLError: It does not speak TLS as it should.
        """
        limits = self._settings.limits
        refusal = None
        try:
            is_proxy = self._proxies.trusts(link.address)
            if is_proxy and self._settings.config.server.proxy_protocol:
                with trio.fail_after(limits.head_seconds):
                    await self._read_proxy_header(link)
                is_proxy = False
            if not is_proxy:
                refusal = self._begin(visit, link.address)
            if refusal is not None and self._with_tls:
                raise ConnectionRefusedError(refusal.reason)  # saying it would cost a TLS handshake
            with trio.fail_after(self._settings.config.server.tls.handshake_seconds):
                alpn = await link.handshake()
            if alpn == "h2":
                data = b""
                with trio.move_on_after(limits.head_seconds):
                    data = await link.receive()
                return Arrival(None, data, b"", alpn)  # a client that said nothing gets HTTP/2's own goodbye
            with trio.fail_after(limits.head_seconds if refusal is None else _REFUSED_SECONDS):
                data, end = await self._read_head(link)
            head = parse_head(data[:end])
        except trio.TooSlowError:
            return reject(408, "the request took too long", ErrorCode.TIMEOUT)
        except ProxyError as error:
            _log.warning("bad PROXY header", address=link.address, error=str(error))
            return reject(400, "bad PROXY header")
        except HandshakeError as error:
            return reject(error.status, error.reason)
        if is_proxy and is_upgrade(head):
            # A proxy's connection to HTTP carries requests of many; each is looked at where it is answered.
            link.address = self._proxies.client_address(link.address, head.headers.raw_items())
            refusal = self._begin(visit, link.address)
        if refusal is not None:
            return _refuse(refusal)
        return Arrival(head, data, data[end:], alpn)

    def _begin(self, visit: Visit, address: str) -> Refusal | None:
        refusal = visit.begin(address)
        if refusal is not None:
            self._counters.connections_refused[refusal.reason] += 1
        return refusal

    async def _read_proxy_header(self, link: Link) -> None:
        """Take a PROXY header off the connection, and believe it."""
        known = 0
        while True:
            data = await link.peek(known)
            if len(data) <= known:
                raise ConnectionResetError("left before its PROXY header was complete")
            header = parse_proxy_header(data, self._settings.limits.head_bytes)
            if header is not None:
                link.sock.recv(header.size)
                link.address = header.address or link.address
                return
            known = len(data)

    async def _read_head(self, link: Link) -> tuple[bytes, int]:
        """Read until the head is complete; return what was read, and where the head ends.

        Raises:
            HandshakeError: It is too large.
        """
        data = await link.receive()
        size = len(data)
        while data:
            end = data.find(_HEAD_END)
            if end >= 0 and end <= self._settings.limits.head_bytes:
                return data, end + len(_HEAD_END)
            if size > self._settings.limits.head_bytes:
                raise HandshakeError(431, f"the request's head is over {self._settings.limits.head_bytes} bytes")
            more = await link.receive()
            if not more:
                break
            data += more
            size = len(data)
        raise ConnectionResetError("left before its request was complete")


def _refuse(refusal: Refusal) -> Rejected:
    seconds = max(1, ceil(refusal.retry_after))
    reason = f"too many connections from this address ({refusal.reason})"
    return reject(429, reason, ErrorCode.RATE_LIMITED, [("Retry-After", str(seconds))])


async def turn_away(link: Link, rejected: Rejected) -> None:
    """Send a refusal, and give the other side a moment to read it: closing at once could destroy it on its way."""
    with trio.move_on_after(_LINGER_SECONDS):
        await link.send_all(rejected.response)
        link.sock.shutdown(socket.SHUT_WR)
        while await link.receive():
            pass
