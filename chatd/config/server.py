"""The process and its one public port: `[server]` and `[websocket]`."""

from typing import Annotated

from msgspec import Meta

from chatd.config.section import Count, Pause, Port, Seconds, Section, Text, Zero


class Tls(Section, frozen=True, kw_only=True):
    """TLS of the public port; empty paths mean plain text (for loopback, or behind a proxy that ends TLS)."""

    certificate: str = ""
    key: str = ""
    handshake_seconds: Seconds = 10.0


class Server(Section, frozen=True, kw_only=True):
    """The process and its one public port."""

    host: Text = "127.0.0.1"
    port: Port = 8000
    backlog: Count = 4096
    var: Text = "var"
    allowed_origins: tuple[str, ...] = ("same",)
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1")
    proxy_protocol: bool = False
    drain_seconds: Pause = 10.0
    shutdown_seconds: Seconds = 25.0
    io_uring: bool = True
    tls: Tls = Tls()


class WebSocket(Section, frozen=True, kw_only=True):
    """The hub's side of the port."""

    path: str = "/v1/ws"
    ping_seconds: Seconds = 25.0
    stall_seconds: Seconds = 30.0
    close_seconds: Seconds = 5.0
    deflate: bool = True
    deflate_level: Annotated[int, Meta(ge=1, le=9)] = 6
    deflate_min_bytes: Zero = 128
