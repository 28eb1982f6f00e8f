"""A client that says exactly the bytes that a test wants, and reads what comes back: HTTP, frames, or the end."""

import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import msgspec
import trio

from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame
from tests.system.process import NodeProcess

# A test that waits for something that does not come fails after this.
PATIENCE_SECONDS = 15.0

MASK = b"\x05\x06\x07\x08"
_NO_LIMITS = FrameLimits(2**26, 2**26, 1000)


class Answer(msgspec.Struct):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Its problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = msgspec.json.decode(self.body)
        return document


class Wire:
    """One connection."""

    def __init__(self, stream: trio.abc.Stream, sock: trio.socket.SocketType) -> None:
        self.stream = stream
        self.sock = sock
        self._http = h11.Connection(h11.CLIENT)
        self._reader = FrameReader(_NO_LIMITS, masked=False)
        self._frames: list[tuple[int, bytes]] = []
        self._next_id = 0

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        with trio.fail_after(PATIENCE_SECONDS):
            await self.stream.send_all(data)

    async def hear_some(self) -> bytes:
        """Return the next bytes; empty at the end, also at a hard one."""
        with trio.fail_after(PATIENCE_SECONDS):
            try:
                return bytes(await self.stream.receive_some(65536))
            except (trio.BrokenResourceError, ssl.SSLError):
                return b""

    async def rest(self) -> bytes:
        """Return everything until the other side ends the connection."""
        found = b""
        while data := await self.hear_some():
            found += data
        return found

    def reset(self) -> None:
        """End the connection the hard way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # HTTP.

    async def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """Ask for a page."""
        await self.say(request(path, *headers, method=method))
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """Read the next answer."""
        if self._http.our_state is h11.IDLE:  # h11 wants to know what was asked
            self._http.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
            self._http.send(h11.EndOfMessage())
        status, headers, body = 0, {}, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.hear_some())
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
                if status == 101:
                    return Answer(status, headers, b"")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                    self._http.start_next_cycle()
                return Answer(status, headers, body)
            else:
                raise AssertionError(event)

    # WebSocket.

    async def upgrade(self, *headers: str, path: str = "/v1/ws", behind: bytes = b"") -> Answer:
        """Ask for a WebSocket; `behind` goes out in the same write."""
        await self.say(request(path, *websocket_headers(), *headers) + behind)
        self._http.send(h11.Request(method="GET", target=path, headers=[("Host", "h"), ("Upgrade", "websocket")]))
        self._http.send(h11.EndOfMessage())
        answer = await self.answer()
        if answer.status == 101:
            self._frames += self._reader.feed(self._http.trailing_data[0])
        return answer

    async def frame(self, payload: bytes, opcode: int = Opcode.TEXT, *, fin: bool = True, rsv1: bool = False) -> None:
        """Send one frame."""
        await self.say(client_frame(opcode, payload, MASK, fin=fin, rsv1=rsv1))

    async def next_frame(self) -> tuple[int, bytes]:
        """Return the next frame; (CLOSE, b"") when the connection ended."""
        while not self._frames:
            data = await self.hear_some()
            if not data:
                return Opcode.CLOSE, b""
            self._frames += self._reader.feed(data)
            assert self._reader.error is None
        return self._frames.pop(0)

    async def hear(self) -> dict[str, Any]:
        """Return the next event or answer; pings are answered and left out."""
        while True:
            opcode, payload = await self.next_frame()
            if opcode == Opcode.PING:
                await self.frame(payload, Opcode.PONG)
                continue
            assert opcode == Opcode.TEXT, (opcode, payload)
            event: dict[str, Any] = json.loads(payload, parse_int=_integer)
            return event

    async def tell(self, **command: Any) -> int:
        """Send a command; return its id."""
        self._next_id += 1
        await self.frame(msgspec.json.encode({"id": self._next_id, **command}))
        return self._next_id

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; return its answer. Events before it are passed over."""
        command_id = await self.tell(**command)
        while True:
            answer = await self.hear()
            if answer.get("id") == command_id:
                return answer

    async def enter(self, token: str) -> dict[str, Any]:
        """Open the WebSocket and say who is there."""
        assert (await self.upgrade()).status == 101
        answer = await self.ask(type="connect", token=token)
        assert answer["type"] == "connected", answer
        return answer

    async def close_code(self) -> int:
        """Return the code of the close frame, which may come after other things; 1006 when there is none."""
        while True:
            opcode, payload = await self.next_frame()
            if opcode == Opcode.CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1006


def _integer(digits: str) -> int | float:
    """Read an integer of any length, which Python refuses."""
    return int(digits) if len(digits) < 20 else float(digits)


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    """Make the head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode("latin-1")


def websocket_headers(version: int = 13) -> tuple[str, ...]:
    """Return what asks for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Upgrade: websocket", "Connection: Upgrade")
    return (*upgrade, f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}")


@asynccontextmanager
async def wire(
    node: NodeProcess, context: ssl.SSLContext | None = None, *, receive_buffer: int = 0, first: bytes = b""
) -> AsyncIterator[Wire]:
    """Open a connection, over TLS with a context; `first` goes out before TLS begins."""
    with trio.socket.socket() as plain:
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await plain.connect(("127.0.0.1", node.port))
        stream: trio.abc.Stream = trio.SocketStream(plain)
        if first:
            await stream.send_all(first)
        if context is not None:
            secure: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
                stream, context, server_hostname="localhost", https_compatible=True
            )
            with trio.fail_after(PATIENCE_SECONDS):
                await secure.do_handshake()
            stream = secure
        yield Wire(stream, plain)
