"""The one public port: accepts connections, reads the first request, and gives it to the hub or to HTTP.

accept ─ limits ─ [PROXY header] ─ [TLS] ─ request head ─┬─ upgrade of the WebSocket's path ─► session
                                                         ├─ upgrade of the echo route ───────► echo
                                                         └─ everything else ─────────────────► HTTP app
"""

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from chatd.counters import Counters
from chatd.doorman import Doorman, Visit, turn_away
from chatd.echo import serve_echo
from chatd.handlers import Handlers
from chatd.hub import Hub
from chatd.keepalive import Keepalive
from chatd.limits import AddressLimiter
from chatd.link import Link
from chatd.poller import Poller
from chatd.ports import adopt_port, open_port
from chatd.session import Session
from chatd.settings import Settings
from chatd.stream import LinkStream
from chatd.tls import TlsLink
from protocol.codec import CODECS, JSON
from protocol.codes import CloseCode, ErrorCode
from protocol.format import Formats
from protocol.frames import FrameLimits, FrameReader
from protocol.handshake import HandshakePolicy, Rejected, accept, is_upgrade, reject

ECHO_PATH = "/v1/echo"

# Connections accepted before other tasks get their turn.
_ACCEPTS = 64

# accept(2): these concern one connection that is gone already; all else concerns this process.
_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH}
_EXHAUSTED_PAUSE_SECONDS = 0.1

# What RFC 6455 section 7.1.5 calls a connection that ended without a close frame; it never goes on the wire.
_ABNORMAL_CLOSURE = 1006

_log = structlog.get_logger("listener")


class HttpSide(Protocol):
    """Serves HTTP on one connection that is handed to it."""

    async def serve(
        self,
        stream: trio.abc.Stream,
        *,
        data: bytes,
        alpn: str,
        tls: bool,
        client: tuple[str, int],
        server: tuple[str, int],
    ) -> None:
        """Serve until the connection ends. `data` was read already."""


class _Upgraded(msgspec.Struct, frozen=True):
    """What is kept of the request that made a connection a WebSocket. `rest` are the bytes that came after it."""

    is_echo: bool
    subprotocol: str | None
    window_bits: int
    rest: bytes


class Listener:
    """Owns the listening sockets and every connection that came through them."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        hub: Hub,
        poller: Poller,
        keepalive: Keepalive,
        handlers: Handlers,
        http: HttpSide,
        addresses: AddressLimiter,
        tls: ssl.SSLContext | None,
        new_session_id: Callable[[], str],
    ) -> None:
        config = settings.config
        self._settings = settings
        self._counters = counters
        self._hub = hub
        self._poller = poller
        self._keepalive = keepalive
        self.handlers = handlers
        self._http = http
        self._tls = tls
        self._new_session_id = new_session_id
        self._addresses = addresses
        self._doorman = Doorman(settings, counters, with_tls=tls is not None)
        limits = settings.limits
        self._shared_limits = FrameLimits(limits.frame_bytes, limits.message_bytes, limits.fragments)
        self._formats = Formats(
            deflate_level=config.websocket.deflate_level, deflate_min_bytes=config.websocket.deflate_min_bytes
        )
        origins, deflate = config.server.allowed_origins, config.websocket.deflate
        self._policy = HandshakePolicy(origins, deflate, tuple(CODECS))
        self._echo_policy = HandshakePolicy(origins, deflate, ())
        self._open = 0
        self._sockets: list[socket.socket] = []
        self._accepting = trio.CancelScope()
        self._connections: trio.Nursery | None = None

    # The port.

    def bind(self, descriptors: Sequence[int] = ()) -> list[tuple[str, int]]:
        """Open the port on every address that the host has, or take over sockets that listen; return where.

        Raises:
            OSError: It cannot be opened. Its text says where, and why.
        """
        self._sockets = adopt_port(descriptors) if descriptors else open_port(self._settings.config.server)
        return [sock.getsockname()[:2] for sock in self._sockets]

    async def run(self) -> None:
        """Accept until `stop`, then serve who is there until all are gone or this is cancelled."""
        async with trio.open_nursery() as connections:
            self._connections = connections
            try:
                with self._accepting:
                    async with trio.open_nursery() as acceptors:
                        for sock in self._sockets:
                            acceptors.start_soon(self._accept_loop, sock, connections)
            finally:
                self._close_sockets()

    def stop(self) -> None:
        """Accept nobody any more; who is there stays."""
        self._accepting.cancel()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    def end(self) -> None:
        """Cut off who is still there."""
        self.stop()
        if self._connections is not None:
            self._connections.cancel_scope.cancel()

    async def _accept_loop(self, sock: socket.socket, connections: trio.Nursery) -> None:
        is_exhausted = False
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(_ACCEPTS):
                try:
                    accepted, address = sock.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _GONE:
                        continue
                    # No file descriptors or memory: those who are connected go on, and some of them will leave.
                    if not is_exhausted:
                        _log.error("cannot accept", error=str(error))
                    is_exhausted = True
                    await trio.sleep(_EXHAUSTED_PAUSE_SECONDS)
                    break
                is_exhausted = False
                self._begin(accepted, address[0], address[1], connections)
            await trio.lowlevel.checkpoint()

    def _begin(self, sock: socket.socket, address: str, port: int, connections: trio.Nursery) -> None:
        if self._open >= self._settings.limits.connections:
            self._counters.connections_refused["connections"] += 1
            sock.close()  # answering would cost what there is no room for
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                link = Link(sock, address, self._poller)
            else:
                link = TlsLink(sock, address, self._poller, self._tls)
        except OSError as error:  # the kernel watches no more sockets for this user, or this one is broken already
            _log.error("cannot accept", error=str(error))
            sock.close()
            return
        self._open += 1
        self._counters.connections_opened += 1
        connections.start_soon(self._serve, link, port)

    # One connection.

    async def _serve(self, link: Link, port: int) -> None:
        """Serve one connection from its first byte to its last. Its trouble stays here."""
        visit = Visit(self._addresses)
        try:
            await self._serve_visit(link, port, visit)
        except (OSError, ssl.SSLError, trio.BrokenResourceError):
            pass  # it went away: nobody is left to tell
        except Exception:
            _log.exception("connection failed", address=link.address)
        finally:
            visit.end()
            link.close()
            self._open -= 1
            self._counters.connections_closed += 1

    async def _serve_visit(self, link: Link, port: int, visit: Visit) -> None:
        upgraded = await self._answer(link, port, visit)
        if upgraded is None:
            return
        if upgraded.is_echo:
            config = self._settings.config
            await serve_echo(LinkStream(link), data=upgraded.rest, window_bits=upgraded.window_bits, config=config)
        else:
            await self._serve_session(link, upgraded)

    async def _answer(self, link: Link, port: int, visit: Visit) -> _Upgraded | None:
        """Receive the first request and answer it; None unless the connection is a WebSocket now.

        The request is gone with this function: a session may last for days, and headers take more room than it does.
        """
        arrival = await self._doorman.receive(link, visit)
        if isinstance(arrival, Rejected):
            await _turn_away(link, arrival)
            return None
        head = arrival.head
        config = self._settings.config
        if head is None or not is_upgrade(head):
            await self._http.serve(
                LinkStream(link),
                data=arrival.data,
                alpn=arrival.alpn,
                tls=self._tls is not None,
                client=(link.address, port),
                server=link.sock.getsockname()[:2],
            )
            return None
        is_echo = False
        if head.path == config.websocket.path:
            answer = accept(head, self._policy)
        elif head.path == ECHO_PATH and config.dev.echo:
            is_echo = True
            answer = accept(head, self._echo_policy)
        else:
            answer = reject(404, "no WebSocket here", ErrorCode.NOT_FOUND)
        if isinstance(answer, Rejected):
            await _turn_away(link, answer)
            return None
        await link.send_all(answer.response)
        return _Upgraded(is_echo, answer.subprotocol, answer.window_bits, arrival.rest)

    async def _serve_session(self, link: Link, upgraded: _Upgraded) -> None:
        """Serve a session. A fault in it is logged and ends it; nobody else notices."""
        codec = CODECS[upgraded.subprotocol] if upgraded.subprotocol is not None else JSON
        window_bits = upgraded.window_bits
        reader = FrameReader(self._frame_limits(), inflate=window_bits > 0)
        session = Session(self._new_session_id(), link, self._formats.get(codec, window_bits), reader, self._hub)
        self._hub.open(session)
        slot = self._keepalive.add(session)
        try:
            await session.run(self.handlers, upgraded.rest)
        except Exception:
            _log.exception("session failed", session=session.id, address=link.address)
            session.close(CloseCode.INTERNAL_ERROR, "a fault in the server")
            session.flush()
        finally:
            self._keepalive.remove(session, slot)
            self._say_goodbye(session)
            self._hub.close(session)

    def _frame_limits(self) -> FrameLimits:
        """Return the limits of a session's frames: one object for all sessions, until a reload changes it."""
        limits = self._settings.limits
        shared = self._shared_limits
        if (shared.frame_bytes, shared.message_bytes, shared.fragments) != (
            limits.frame_bytes,
            limits.message_bytes,
            limits.fragments,
        ):
            shared = self._shared_limits = FrameLimits(limits.frame_bytes, limits.message_bytes, limits.fragments)
        return shared

    def _say_goodbye(self, session: Session) -> None:
        code = session.close_code if session.close_code is not None else _ABNORMAL_CLOSURE
        self._counters.closes[code] += 1
        principal, caller = session.principal, session.caller
        who = {"backend": caller.actor} if caller else {"user": principal.user if principal else None}
        _log.info(
            "session closed",
            session=session.id,
            **who,
            address=session.link.address,
            code=code,
            messages=session.messages_in,
            unsent_bytes=session.outbox_bytes,
        )


async def _turn_away(link: Link, rejected: Rejected) -> None:
    """Refuse what somebody asked for, and note it."""
    _log.info("request refused", address=link.address, status=rejected.status, reason=rejected.reason)
    await turn_away(link, rejected)
