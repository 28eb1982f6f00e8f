"""One HTTP connection: bytes of a stream to hypercorn's protocols and back, with a bound on every wait.

hypercorn's own TCPServer is not used because it would answer WebSockets (also over HTTP/2, which browsers then prefer),
lets a client that reads nothing hold its task for ever, and keeps ended connections until their idle time is over.
"""

import dataclasses
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11
import msgspec
import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, H11SendableEvent

from chatd.api.express import Express, Plain
from chatd.api.problems import code_of_status, problem, problem_headers
from chatd.api.turnstile import Turnstile

_log = structlog.get_logger("http")

READ_BYTES = 65536
LINGER_SECONDS = 2.0

# Many clients send a request's body by itself, right behind its head.
_BODY_SECONDS = 0.01

Address = tuple[str, int]

# Where a head ends; h11 takes lines without a carriage return too.
_HEAD_END = re.compile(rb"\n\r?\n")

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What all connections share."""

    app: AppWrapper
    hypercorn: HypercornConfig
    context: WorkerContext
    idle_seconds: float
    stall_seconds: float
    turnstile: Turnstile
    express: Express


class Connection:
    """Serves the requests of one stream until either side closes, or it was idle for too long."""

    def __init__(self, settings: HttpSettings, stream: trio.abc.Stream) -> None:
        self._settings = settings
        self._stream = stream
        self._reading = trio.CancelScope()
        self._send_lock = trio.Lock()
        self._is_idle = True
        self._is_ending = False
        self._is_broken = False

    async def run(self, data: bytes, *, alpn: str, tls: bool, client: Address, server: Address) -> None:
        """Serve the stream, beginning with bytes that were read from it already. Closes it."""
        shared = self._settings
        try:
            with trio.CancelScope() as whole:
                async with TaskGroup() as tasks:
                    state = ConnectionState({})
                    speak = Http2 if alpn == "h2" else Http1
                    protocol = speak(
                        shared.app, shared.hypercorn, shared.context, tasks, state, tls, client, server, self._send
                    )
                    await protocol.initiate()
                    await self._read(protocol, _Ends(tls, client, server), data)
                    whole.deadline = trio.current_time() + shared.stall_seconds
                    await protocol.handle(Closed())
        finally:
            await self._close()

    def close_if_idle(self) -> None:
        """End the connection now if no request is under way."""
        if self._is_idle:
            self._reading.cancel()

    async def _read(self, protocol: "Http1 | Http2", ends: "_Ends", data: bytes) -> None:
        with self._reading:
            self._reading.deadline = trio.current_time() + self._settings.idle_seconds
            while data and not self._is_ending:
                await self._settings.turnstile.enter()
                plain = None
                if isinstance(protocol, Http1) and protocol.is_at_rest:
                    plain, data = await self._plain(data)
                if plain is not None:
                    await self._answer(plain, ends)
                else:
                    await protocol.handle(RawData(data))
                if isinstance(protocol, Http2):
                    # Its own word is late when a stream was reset, or ended while it was being opened.
                    self._set_idle(protocol.idle)
                try:
                    data = bytes(await self._stream.receive_some(READ_BYTES))
                except _GONE:
                    break

    async def _plain(self, data: bytes) -> tuple[Plain | None, bytes]:
        """Return the request that these bytes are if it is a plain one and whole, and all bytes that have come."""
        express = self._settings.express
        plain = express.read(data)
        if plain is not None and plain.missing:
            self._set_idle(False)
            # What ended meanwhile is found to be so by the next read.
            with trio.move_on_after(_BODY_SECONDS), suppress(*_GONE):
                data += bytes(await self._stream.receive_some(READ_BYTES))
            await self._settings.turnstile.enter()
            plain = express.read(data)
        return (plain if plain is not None and not plain.missing else None), data

    async def _answer(self, plain: Plain, ends: "_Ends") -> None:
        """Serve a plain request here and now; the next one is read when it is answered."""
        self._set_idle(False)
        express = self._settings.express
        answer, is_last = await express.answer(plain, tls=ends.tls, client=ends.client, server=ends.server)
        await self._write(answer)
        if is_last:
            await self._send(Closed())
        else:
            self._set_idle(True)

    async def _send(self, event: Event) -> None:
        """Do what the protocol says: write, end, or note that the last request was answered."""
        match event:
            case RawData():
                await self._write(event.data)
            case Closed():
                self._is_ending = True
                self._reading.cancel()
            case Updated():
                self._set_idle(event.idle)

    async def _write(self, data: bytes) -> None:
        # Not cancelled by a request that ends, which would leave half a frame; bounded in time instead.
        with trio.move_on_after(self._settings.stall_seconds, shield=True) as waiting:
            async with self._send_lock:
                if self._is_broken:
                    return
                try:
                    await self._stream.send_all(data)
                except _GONE:
                    self._break()
        if waiting.cancelled_caught:
            self._break()

    def _break(self) -> None:
        self._is_broken = True
        self._reading.cancel()

    def _set_idle(self, is_idle: bool) -> None:
        if is_idle and self._settings.context.terminated.is_set():
            self._reading.cancel()
        if is_idle != self._is_idle:
            self._is_idle = is_idle
            self._reading.deadline = trio.current_time() + self._settings.idle_seconds if is_idle else float("inf")

    async def _close(self) -> None:
        """Close the stream, so that the last answer arrives.

        What a client still sends, such as the rest of a body that was refused, is read and dropped for a moment:
        a socket closed with unread bytes is reset, and a reset destroys the answer on its way.
        """
        with trio.move_on_after(LINGER_SECONDS, shield=True) as closing:
            if self._is_broken:
                closing.cancel()
            elif self._is_ending:
                await self._linger()
            await self._stream.aclose()

    async def _linger(self) -> None:
        try:
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while await self._stream.receive_some(READ_BYTES):
                pass
        except (*_GONE, trio.BusyResourceError):
            return


@dataclass(frozen=True, slots=True)
class _Ends:
    """Who is at both ends of a connection."""

    tls: bool
    client: Address
    server: Address


class Http1(H11Protocol):
    """HTTP/1.1 that never becomes anything else: an `Upgrade` is ignored, as RFC 9110 section 7.8 allows."""

    _held = b""

    @property
    def is_at_rest(self) -> bool:
        """Whether no request is under way, and none has begun to come."""
        machine = self.connection
        return machine.our_state is machine.their_state is h11.IDLE and not machine.trailing_data[0]

    async def handle(self, event: Event) -> None:
        """Take bytes, or the end of the connection."""
        if isinstance(event, RawData) and self._is_head_too_large(event.data):
            await self._send_error_response(431)
            await self.send(Closed())
            return
        await super().handle(event)

    def _is_head_too_large(self, data: bytes) -> bool:
        """Tell whether these bytes make the head of a request too large.

        h11 sees to this only as long as the head is not complete, and one read may bring all of a large one.
        """
        most = self.config.h11_max_incomplete_size
        if self.connection.their_state is not h11.IDLE:
            return False
        begun = self.connection.trailing_data[0]
        return len(begun) + len(data) > most and _HEAD_END.search((begun + data)[: most + 4]) is None

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay with HTTP/1.1."""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Write a part of an answer. Its head waits for the first part of the body: one write instead of two."""
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        data = self._held + data
        self._held = data if isinstance(event, h11.Response) else b""
        if data and not self._held:
            await self.send(RawData(data))

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer. One that comes before its request is complete is the last of the connection."""
        if isinstance(event, Response) and self.connection.their_state is h11.SEND_BODY:
            event = dataclasses.replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)

    async def _create_stream(self, request: h11.Request) -> None:
        if {name for name, _ in request.headers} >= {b"content-length", b"transfer-encoding"}:
            # A proxy before this node may have gone by the other one (RFC 9112 section 6.1: request smuggling).
            await self._send_error_response(400)
            await self.send(Closed())
            return
        if any(name == b"upgrade" for name, _ in request.headers):
            request = h11.Request(
                method=request.method,
                target=request.target,
                headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
                http_version=request.http_version,
            )
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        reason = "the request's head is too large" if status_code == 431 else "the request is malformed"
        _log.info("request refused", address=(self.client or ("",))[0], status=status_code, reason=reason)
        described = problem(code_of_status(status_code), reason, status=status_code)
        content = msgspec.json.encode(described)
        headers = [(name.encode(), value.encode()) for name, value in problem_headers(described).items()]
        headers += [(b"Content-Length", b"%d" % len(content)), (b"Connection", b"close")]
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=content))
        await self._send_h11_event(h11.EndOfMessage())


class Http2(H2Protocol):
    """HTTP/2 without WebSockets in it (RFC 8441): the hub does not speak that."""

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Say the first word, which names the limits."""
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
                codes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
            },
        )
        await super().initiate(headers, settings)

    async def handle(self, event: Event) -> None:
        """Take bytes, or the end of the connection: then nobody must wait for an answer to be taken any more."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # The rest of a body whose request was answered before it had come; it still used up the window.
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.RequestReceived) and (b":method", b"CONNECT") in (event.headers or ()):
                with suppress(h2.exceptions.StreamClosedError):  # the client may have reset it by now
                    self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            else:
                await super()._handle_events([event])
        await self._flush()
