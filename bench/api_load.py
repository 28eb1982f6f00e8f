"""Backends that load the server API as fast as it answers: over HTTP/1.1 that stays open, and over WebSocket.

Raw sockets in this process: a client library would cost more than the server. Only what an answer must begin with is
checked, and how long each took.
"""

import base64
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from bench.wire import text_frame
from protocol.frames import FrameLimits, FrameReader

_READ_BYTES = 65536
_LIMITS = FrameLimits(2**24, 2**24, 64)

Address = tuple[str, int]


class ApiLoadFailed(Exception):
    """The server did not answer as it should."""


@dataclass(slots=True)
class ApiLoad:
    """What one load came to: answered requests (or acks), and how long each took in seconds."""

    answered: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """How many were answered a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Return how long this share of them took at most."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def post(path: str, token: str, body: object) -> bytes:
    """Make the bytes of a request."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def http_load(address: Address, request: Callable[[int], bytes], connections: int, seconds: float) -> ApiLoad:
    """Let each connection repeat its request for so long, as fast as it is answered."""
    return trio.run(_spread, partial(_repeat, address, request), connections, seconds)


def session_load(address: Address, key: str, channel: str, data_bytes: int, window: int, seconds: float) -> ApiLoad:
    """Let one server session send for so long, `window` messages at a time; each must be acknowledged."""
    return trio.run(_spread, partial(_send, address, key, channel, data_bytes, window), 1, seconds)


def ask(address: Address, request: bytes) -> bytes:
    """Send one request and return the body of its answer."""

    async def once() -> bytes:
        stream = await trio.open_tcp_stream(*address)
        async with stream:
            await stream.send_all(request)
            _, body = await _answer(stream, bytearray())
            return body

    return trio.run(once)


Task = Callable[[int, float, ApiLoad], Awaitable[None]]


async def _spread(task: Task, count: int, seconds: float) -> ApiLoad:
    load = ApiLoad()
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(task, number, began + seconds, load)
    load.seconds = time.perf_counter() - began
    return load


async def _repeat(address: Address, request: Callable[[int], bytes], number: int, end: float, load: ApiLoad) -> None:
    stream = await trio.open_tcp_stream(*address)
    data = request(number)
    held = bytearray()
    async with stream:
        while (began := time.perf_counter()) < end:
            await stream.send_all(data)
            head, body = await _answer(stream, held)
            if not head.startswith(b"HTTP/1.1 20"):
                raise ApiLoadFailed(bytes(head.partition(b"\r\n")[0] + b" " + body[:200]).decode(errors="replace"))
            load.answered += 1
            load.latencies.append(time.perf_counter() - began)


async def _answer(stream: trio.SocketStream, held: bytearray) -> tuple[bytes, bytes]:
    """Read one answer; what came behind it stays in `held`."""
    while (end := held.find(b"\r\n\r\n")) < 0:
        held += await _more(stream)
    head = bytes(held[:end])
    at = head.lower().find(b"content-length:")
    size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    while len(held) < end + 4 + size:
        held += await _more(stream)
    body = bytes(held[end + 4 : end + 4 + size])
    del held[: end + 4 + size]
    return head, body


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(_READ_BYTES))
    if not data:
        raise ApiLoadFailed("the server closed the connection")
    return data


async def _send(
    address: Address, key: str, channel: str, data_bytes: int, window: int, number: int, end: float, load: ApiLoad
) -> None:
    stream = await trio.open_tcp_stream(*address)
    nonce = base64.b64encode(secrets.token_bytes(16)).decode()
    handshake = (
        "GET /v1/ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Protocol: chatd.v1.json\r\n\r\n"
    )
    reader = FrameReader(_LIMITS, masked=False)
    async with stream:
        await stream.send_all(handshake.encode())
        held = bytearray()
        while b"\r\n\r\n" not in held:
            held += await _more(stream)
        await stream.send_all(text_frame(json.dumps({"type": "connect", "id": 0, "token": key}).encode()))
        await _acks(stream, reader, b'{"type":"connected"', 1)
        text = "x" * data_bytes
        command = f'"type":"send","channel":"{channel}","data":{{"text":"{text}"}}}}'
        sent = 0
        while (began := time.perf_counter()) < end:
            frames = [
                text_frame(f'{{"id":{place},"key":"{nonce[:8]}-{place}",{command}'.encode())
                for place in range(sent, sent + window)
            ]
            sent += window
            await stream.send_all(b"".join(frames))
            await _acks(stream, reader, b'{"type":"sent"', window)
            load.answered += window
            load.latencies.append(time.perf_counter() - began)


async def _acks(stream: trio.SocketStream, reader: FrameReader, begin: bytes, count: int) -> None:
    while count:
        for _, payload in reader.feed(await _more(stream)):
            if payload.startswith(begin):
                count -= 1
            elif payload:
                raise ApiLoadFailed(bytes(payload[:200]).decode(errors="replace"))
