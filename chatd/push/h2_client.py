"""A small HTTP/2 client for many short requests to one host, on few connections, over the h2 state machine.

httpx costs 1.4 ms of CPU a request on the machine where this was measured, this a fifth of that
(docs/decisions/0022-own-http2-client-for-push.md): requests of one turn of trio leave in one write, and what one read
brings is handled before anybody is woken.

    HttpFailure             the request got no answer
    ├── ConnectionFailed    no connection, or it broke; the request may or may not have been seen
    └── NotHttp2            the host speaks HTTP/1.1 only
"""

import json
import math
import ssl
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio

from chatd.push.goaway import GoAway, GoAwayFilter
from chatd.push.header_block import HeaderEncoder

_READ_BYTES = 65_536

# An answer of a push service is a few hundred bytes; more of one than this is not kept.
_ANSWER_BYTES = 65_536

# Streams that may be open before SETTINGS said how many; RFC 9113 section 6.5.2 asks for 100 at least.
_FIRST_STREAMS = 100

BODY_BYTES = 16_384
"""The largest body: one frame (RFC 9113 section 4.2). Those of push services are a third of it.

So a body need not be cut, and one that waits for the whole of its window cannot wait for ever: every server gives the
window back before half of it is used up, and this is a quarter of the least one.
"""

_CONFIG = h2.config.H2Configuration(
    client_side=True,
    header_encoding=None,
    # What goes out is made here, lower case and complete; checking it again would cost a quarter of a request.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)

Headers = list[tuple[bytes, bytes]]


class HttpFailure(Exception):
    """A request got no answer."""


class ConnectionFailed(HttpFailure):
    """There is no connection, or it broke before the answer came."""


class NotHttp2(HttpFailure):
    """The other side speaks HTTP/1.1 only."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """Return the body if it is a JSON object, else an empty one."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """How many seconds to wait; None if the answer does not say it (or by a date, which none of them use)."""
        try:
            seconds = float(self.headers.get("retry-after", ""))
        except ValueError:
            return None
        return seconds if 0 <= seconds < math.inf else None


@dataclass(frozen=True, slots=True)
class H2Bounds:
    """How much one client may use of a host; `[push]` in config.toml says what each is for."""

    connections: int = 2
    streams: int = 500
    connect_seconds: float = 10.0
    request_seconds: float = 10.0


class _Exchange:
    """One request on its way, and what came of its answer."""

    __slots__ = ("body", "done", "error", "headers")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.error: HttpFailure | None = None
        self.done = trio.Event()

    def fail(self, reason: str) -> None:
        """End it without an answer."""
        if not self.done.is_set():
            self.error = ConnectionFailed(reason)
            self.done.set()


class H2Connection:
    """One connection. `run` reads and writes it; only its writer task touches the stream's sending side.

    So a request that is given up never leaves half a frame behind.
    """

    def __init__(self, stream: trio.abc.Stream, bounds: H2Bounds) -> None:
        self._stream = stream
        self._bounds = bounds
        self._h2 = h2.connection.H2Connection(_CONFIG)
        self._h2.encoder = HeaderEncoder()  # type: ignore[assignment]
        self._h2.initiate_connection()  # a request may be begun before `run` is
        self._goodbyes = GoAwayFilter()
        self._exchanges: dict[int, _Exchange] = {}
        self._waiting: OrderedDict[trio.Event, int] = OrderedDict()  # for room, with the sizes of their bodies
        self._to_write = trio.Event()
        self._to_write.set()
        self._settled = False
        self._heard_at = trio.current_time()
        self.load = 0
        self.is_open = True

    async def run(self) -> None:
        """Serve the connection until it ends or is cancelled; what then waits for an answer fails."""
        reason = "the connection was closed"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop)
                reason = await self._read_loop()
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h2.exceptions.ProtocolError) as errors:
            reason = repr(errors.exceptions[0])
        finally:
            self.is_open = False
            for exchange in self._exchanges.values():
                exchange.fail(reason)
            self._exchanges.clear()
            self._let_in()
            await trio.aclose_forcefully(self._stream)

    async def post(self, head: Headers, body: bytes) -> Answer:
        """Send a request and return its answer.

        Raises:
            ConnectionFailed: It got none.
            ValueError: The body is larger than `BODY_BYTES`.
        """
        if len(body) > BODY_BYTES:
            raise ValueError(f"a body has at most {BODY_BYTES} bytes")
        self.load += 1
        try:
            stream_id, exchange = await self._begin(head, body)
            sent_at = trio.current_time()
            try:
                await exchange.done.wait()
            except trio.Cancelled:
                self._give_up(stream_id, sent_at)
                raise
        finally:
            self.load -= 1
        if exchange.error is not None:
            raise exchange.error
        return Answer(int(exchange.headers.get(":status", "0")), exchange.headers, bytes(exchange.body))

    async def _begin(self, head: Headers, body: bytes) -> tuple[int, _Exchange]:
        """Wait for room, then put the request into the connection's buffer."""
        machine = self._h2
        while self.is_open and not self._has_room(len(body)):
            await self._wait_for_room(len(body))
        if not self.is_open:
            raise ConnectionFailed("the connection was closed")
        exchange = _Exchange()
        try:
            stream_id = machine.get_next_available_stream_id()
            machine.send_headers(stream_id, head)
            machine.send_data(stream_id, body, end_stream=True)
        except h2.exceptions.ProtocolError as error:  # the other side is closing, or all stream ids are used
            self.is_open = False
            raise ConnectionFailed(repr(error)) from error
        self._exchanges[stream_id] = exchange
        self._to_write.set()
        return stream_id, exchange

    def _has_room(self, size: int) -> bool:
        """Tell whether the other side takes another request of this size now."""
        streams, window = self._free()
        return streams > 0 and window >= size

    def _free(self) -> tuple[int, int]:
        """Return how many requests, and bytes of bodies, the other side takes now.

        Apple's takes one request at a time until it has seen a good token, and says so by its SETTINGS.
        """
        most = self._h2.remote_settings.max_concurrent_streams if self._settled else _FIRST_STREAMS
        window = min(self._h2.outbound_flow_control_window, self._h2.remote_settings.initial_window_size)
        return min(most, self._bounds.streams) - len(self._exchanges), window

    async def _wait_for_room(self, size: int) -> None:
        freed = trio.Event()
        self._waiting[freed] = size
        try:
            await freed.wait()
        except trio.Cancelled:
            if self._waiting.pop(freed, None) is None:  # the room that was made for it is another one's
                self._let_in()
            raise

    def _let_in(self) -> None:
        """Wake as many of those who wait as there is room for, in their order; all of them when this is over."""
        streams, window = self._free()
        while self._waiting:
            freed, size = next(iter(self._waiting.items()))
            if self.is_open and (streams <= 0 or window < size):
                return
            streams, window = streams - 1, window - size
            del self._waiting[freed]
            freed.set()

    def _give_up(self, stream_id: int, sent_at: float) -> None:
        """Forget a request whose time is over; without a byte from the other side since, the connection is dead."""
        if self._exchanges.pop(stream_id, None) is not None and self.is_open:
            with suppress(h2.exceptions.ProtocolError):
                self._h2.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
            self._to_write.set()
        if self._heard_at < sent_at:
            self.is_open = False
        self._let_in()

    async def _write_loop(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write = trio.Event()
            data = self._h2.data_to_send()
            if data:
                await self._stream.send_all(data)

    async def _read_loop(self) -> str:
        """Handle what comes until the other side hangs up; return why it ended."""
        while True:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                return "the other side closed the connection"
            self._heard_at = trio.current_time()
            frames, goodbyes = self._goodbyes.feed(bytes(data))
            for event in self._h2.receive_data(frames):
                self._take(event)
            for goodbye in goodbyes:
                self._leave(goodbye)
            self._to_write.set()
            self._let_in()
            if not self.is_open and not self._exchanges:
                return "the other side is closing"

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=int(stream_id), headers=headers):
                exchange = self._exchanges.get(stream_id)
                if exchange is not None and headers is not None:
                    exchange.headers = {bytes(k).decode("latin-1"): bytes(v).decode("latin-1") for k, v in headers}
            case h2.events.DataReceived(stream_id=int(stream_id), data=data, flow_controlled_length=size):
                self._take_data(stream_id, data or b"", size or 0)
            case h2.events.StreamEnded(stream_id=int(stream_id)):
                exchange = self._exchanges.pop(stream_id, None)
                if exchange is not None:
                    exchange.done.set()
            case h2.events.StreamReset(stream_id=int(stream_id), error_code=code):
                exchange = self._exchanges.pop(stream_id, None)
                if exchange is not None:
                    exchange.fail(f"the other side reset the request: {code}")
            case h2.events.RemoteSettingsChanged():
                self._settled = True

    def _take_data(self, stream_id: int, data: bytes, size: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None and len(exchange.body) < _ANSWER_BYTES:
            exchange.body += data
        with suppress(h2.exceptions.ProtocolError):  # the stream may be over
            self._h2.acknowledge_received_data(size, stream_id)

    def _leave(self, goodbye: GoAway) -> None:
        """Take no more requests: the other side closes. Those it will not look at fail now, the others are answered."""
        self.is_open = False
        reason = f"the other side is closing: {goodbye.code} {goodbye.reason}".strip()
        for stream_id in [stream_id for stream_id in self._exchanges if stream_id > goodbye.last_stream]:
            self._exchanges.pop(stream_id).fail(reason)


class H2Client:
    """Requests to one host over a few connections, whose tasks are in the given nursery until `close`."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, bounds: H2Bounds, nursery: trio.Nursery) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._bounds = bounds
        authority = host if port == 443 else f"{host}:{port}"
        self._head: Headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority.encode())]
        self._connections: dict[H2Connection, trio.CancelScope] = {}
        self._opening = trio.Lock()
        self._failures = 0
        self._nursery = nursery
        self.load = 0
        """How many requests wait for a connection or for their answers."""

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def close(self) -> None:
        """Close the connections; requests that wait for an answer fail."""
        for scope in self._connections.values():
            scope.cancel()

    async def post(self, path: str, headers: Headers, body: bytes) -> Answer:
        """Send a request and return its answer.

        Raises:
            ConnectionFailed: It got none in time.
            NotHttp2: The host speaks HTTP/1.1 only.
        """
        head = [*self._head, (b":path", path.encode()), *headers, (b"content-length", b"%d" % len(body))]
        self.load += 1
        try:
            with trio.fail_after(self._bounds.request_seconds):
                connection = await self._connection()
                return await connection.post(head, body)
        except trio.TooSlowError as error:
            raise ConnectionFailed("no answer in time") from error
        finally:
            self.load -= 1

    async def _connection(self) -> H2Connection:
        """Return the connection with the fewest requests; open one where there is none or all are busy."""
        while True:
            best = self._best()
            if best is not None and (
                best.load < self._bounds.streams // 2
                or len(self._connections) >= self._bounds.connections
                or (self._opening.locked() and best.load < self._bounds.streams)
            ):
                return best
            failures = self._failures
            async with self._opening:
                if self._best() is not best:
                    continue  # somebody else has opened one
                if self._failures != failures:  # who waited for it does not try the same again
                    raise ConnectionFailed("the host cannot be reached")
                return await self._open()

    def _best(self) -> H2Connection | None:
        usable = [connection for connection in self._connections if connection.is_open]
        return min(usable, key=lambda connection: connection.load, default=None)

    async def _open(self) -> H2Connection:
        try:
            with trio.fail_after(self._bounds.connect_seconds):
                stream = await self._handshake()
        except (OSError, ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError) as error:
            self._failures += 1
            reason = error.__cause__ or error  # trio tells what is wrong with a certificate as the cause only
            raise ConnectionFailed(f"cannot connect to {self._host}: {reason!r}") from error
        connection = H2Connection(stream, self._bounds)
        self._connections[connection] = trio.CancelScope()
        self._nursery.start_soon(self._serve, connection)
        return connection

    async def _handshake(self) -> trio.SSLStream[trio.SocketStream]:
        tcp = await trio.open_tcp_stream(self._host, self._port)
        stream = trio.SSLStream(tcp, self._tls, server_hostname=self._host, https_compatible=True)
        try:
            await stream.do_handshake()
            if stream.selected_alpn_protocol() != "h2":
                raise NotHttp2(f"{self._host} does not speak HTTP/2")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _serve(self, connection: H2Connection) -> None:
        try:
            with self._connections[connection]:
                await connection.run()
        finally:
            del self._connections[connection]


def tls_context() -> ssl.SSLContext:
    """Return a context for clients that trusts what the system trusts and asks for HTTP/2."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
