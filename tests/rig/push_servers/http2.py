"""An HTTP/2 server over TLS, written for tests: it does what a test tells it to, and remembers what came."""

import itertools
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import msgspec
import trio
from hyperframe.frame import GoAwayFrame

_READ_BYTES = 65_536


@dataclass
class Request:
    """What a client sent. `connection` counts the connections from 1."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> dict[str, object]:
        """Return the body as JSON."""
        value: dict[str, object] = msgspec.json.decode(self.body)
        return value


@dataclass
class Reply:
    """What the server says."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(status: int, body: object, **headers: str) -> Reply:
    """Make a reply with JSON in it."""
    return Reply(status, msgspec.json.encode(body), {"content-type": "application/json", **headers})


Answer = Callable[[Request], Awaitable[Reply]]


class _Connection:
    def __init__(self, number: int, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.number = number
        self.stream = stream
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        self.lock = trio.Lock()

    async def flush(self) -> None:
        async with self.lock:
            data = self.h2.data_to_send()
            if data:
                await self.stream.send_all(data)


class Http2Server:
    """Serves on a free port of localhost while `run` runs.

    `streams` is how many requests a connection takes at once (None: as h2 says); it may be changed by `allow_streams`.
    """

    def __init__(self, certificate: Path, key: Path, answer: Answer, *, streams: int | None = None) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._tls.set_alpn_protocols(["h2"])
        self._answer = answer
        self._streams = streams
        self._numbers = itertools.count(1)
        self._connections: set[_Connection] = set()
        self.requests: list[Request] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://localhost:{self.port}"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, [listener])
            task_status.started()

    async def allow_streams(self, streams: int) -> None:
        """Say how many requests are taken at once from now on."""
        self._streams = streams
        for connection in list(self._connections):
            connection.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams})
            await connection.flush()

    async def say_goodbye(self, reason: bytes = b"") -> None:
        """Tell every client that its connection takes no more requests; those it has are answered."""
        for connection in list(self._connections):
            # The library would answer nothing any more after its own GOAWAY.
            last = connection.h2.highest_inbound_stream_id
            async with connection.lock:
                await connection.stream.send_all(
                    GoAwayFrame(0, last_stream_id=last, additional_data=reason).serialize()
                )

    async def hang_up(self) -> None:
        """Break every connection."""
        for connection in list(self._connections):
            await trio.aclose_forcefully(connection.stream)

    async def _serve(self, tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, self._tls, server_side=True, https_compatible=True)
        connection = _Connection(next(self._numbers), stream)
        self.connections += 1
        try:
            await stream.do_handshake()
            if self._streams is not None:
                limits = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._streams}
                connection.h2.local_settings = h2.settings.Settings(client=False, initial_values=limits)
            connection.h2.initiate_connection()
            self._connections.add(connection)
            await connection.flush()
            async with trio.open_nursery() as nursery:
                await self._read(connection, nursery)
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h2.exceptions.ProtocolError) as e:
            import traceback

            traceback.print_exception(e)
        finally:
            self._connections.discard(connection)
            await trio.aclose_forcefully(stream)

    async def _read(self, connection: _Connection, nursery: trio.Nursery) -> None:
        while data := await connection.stream.receive_some(_READ_BYTES):
            for event in connection.h2.receive_data(bytes(data)):
                match event:
                    case h2.events.RequestReceived(stream_id=int(stream_id), headers=headers):
                        fields = {str(name): str(value) for name, value in headers or ()}
                        connection.requests[stream_id] = fields, bytearray()
                        self.in_flight += 1
                        self.most_in_flight = max(self.most_in_flight, self.in_flight)
                    case h2.events.DataReceived(stream_id=int(stream_id), data=part, flow_controlled_length=size):
                        connection.requests[stream_id][1].extend(part or b"")
                        connection.h2.acknowledge_received_data(size or 0, stream_id)
                    case h2.events.StreamEnded(stream_id=int(stream_id)):
                        nursery.start_soon(self._reply, connection, stream_id)
                    case h2.events.StreamReset(stream_id=int(stream_id)):
                        self.in_flight -= connection.requests.pop(stream_id, None) is not None
            await connection.flush()

    async def _reply(self, connection: _Connection, stream_id: int) -> None:
        fields, body = connection.requests[stream_id]
        plain = {name: value for name, value in fields.items() if not name.startswith(":")}
        request = Request(fields[":method"], fields[":path"], plain, bytes(body), connection.number)
        self.requests.append(request)
        reply = await self._answer(request)
        if connection.requests.pop(stream_id, None) is None:
            return  # the client has given it up
        self.in_flight -= 1
        head = [(":status", str(reply.status)), *reply.headers.items()]
        try:
            connection.h2.send_headers(stream_id, head, end_stream=not reply.body)
            if reply.body:
                connection.h2.send_data(stream_id, reply.body, end_stream=True)
            await connection.flush()
        except (h2.exceptions.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
