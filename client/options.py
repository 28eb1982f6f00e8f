"""What a client can be told, and how it gets its streams and tokens."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import urlsplit

import trio

from client.codec import Encoding

TokenProvider = Callable[[], Awaitable[str]]
"""Returns an access token that is good now; asked before each connect, and before the token in use runs out."""

Dial = Callable[["Address"], Awaitable[trio.abc.Stream]]
"""Opens a stream to the server; raises OSError when it cannot."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, taken apart from its URL."""

    host: str
    port: int
    path: str
    is_tls: bool

    @property
    def host_header(self) -> str:
        """The Host header of the handshake."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def read_url(url: str) -> Address:
    """Take a `ws://` or `wss://` URL apart.

    Raises:
        ValueError: It is neither.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"not a ws:// or wss:// URL: {url!r}")
    is_tls = parts.scheme == "wss"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.hostname, parts.port or (443 if is_tls else 80), path, is_tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client behaves; every number may be changed.

    `event_queue` events wait for the application before the client stops reading; then the server's own limits count,
    and it closes the session as slow in the end, after which the client resumes. `connect_seconds` bounds the first
    connect only: later ones are tried for ever. `catch_up` asks after each reconnect which member channels have news
    beyond the cursors that were given, so that conversations that began meanwhile are not missed.
    """

    encoding: Encoding = "msgpack"
    compression: bool = True
    device: str = ""
    connect_seconds: float = 30.0
    handshake_seconds: float = 15.0
    answer_seconds: float = 30.0
    close_seconds: float = 5.0
    send_seconds: float = 60.0
    event_queue: int = 1000
    max_message_bytes: int = 64 * 2**20
    cursors: int = 200
    remembered_channels: int = 10_000
    catch_up: bool = True
    ssl_context: ssl.SSLContext | None = None
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()
    dial: Dial | None = None


class Given(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments."""

    encoding: Encoding
    compression: bool
    device: str
    connect_seconds: float
    handshake_seconds: float
    answer_seconds: float
    close_seconds: float
    send_seconds: float
    event_queue: int
    max_message_bytes: int
    cursors: int
    remembered_channels: int
    catch_up: bool
    ssl_context: ssl.SSLContext | None
    extra_headers: tuple[tuple[bytes, bytes], ...]
    dial: Dial | None


async def dial(address: Address, context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a TCP or TLS stream."""
    if not address.is_tls:
        return await trio.open_tcp_stream(address.host, address.port)
    return await trio.open_ssl_over_tcp_stream(
        address.host, address.port, ssl_context=context or ssl.create_default_context(), https_compatible=True
    )
