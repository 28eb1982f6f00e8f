"""Answers on the public port while the store is not there yet: alive, and not ready.

A node whose database is down waits for it. Whoever watches the node must see that it is neither dead nor hanging, and
whoever balances load must send nobody. The sockets are those that the node serves on afterwards, so the port is never
given up in between, and who connects in the last moment waits in the kernel's queue.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import trio

from chatd.api.problems import CONTENT_TYPE, STORE_RETRY_SECONDS, problem
from chatd.config import Config
from chatd.ports import adopt_port, open_port
from chatd.tls import server_context
from protocol.codes import ErrorCode

CONNECTIONS = 100  # answered at the same time; others wait in the kernel's queue
EXCHANGE_SECONDS = 5.0
_HEAD_BYTES = 8192

_ALIVE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\nalive\n"
)
_REASON = "the node waits for its store"


@asynccontextmanager
async def waiting_room(config: Config, descriptors: Sequence[int] | None) -> AsyncIterator[list[int]]:
    """Answer on the public port while inside; give the descriptors of its sockets, which stay open.

    Raises:
        ConfigError: The TLS files cannot be used.
        OSError: The port cannot be opened.
    """
    sockets = adopt_port(descriptors) if descriptors else open_port(config.server)
    failure: Exception | None = None  # a nursery would wrap it in a group
    async with trio.open_nursery() as nursery:
        # Each has a descriptor of its own, so that closing the listeners leaves the sockets open.
        listeners = [_listener(config, socket.socket(fileno=os.dup(sock.fileno()))) for sock in sockets]
        nursery.start_soon(_serve, listeners)
        try:
            yield [sock.detach() for sock in sockets]
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _listener(config: Config, sock: socket.socket) -> trio.abc.Listener[trio.abc.Stream]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    context = server_context(config.server.tls)
    return plain if context is None else trio.SSLListener(plain, context, https_compatible=True)


async def _serve(listeners: Sequence[trio.abc.Listener[trio.abc.Stream]]) -> None:
    seats = trio.CapacityLimiter(CONNECTIONS)
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(_accept, listener, seats, nursery.start_soon)


async def _accept(
    listener: trio.abc.Listener[trio.abc.Stream], seats: trio.CapacityLimiter, start: Callable[..., None]
) -> None:
    async with listener:
        while True:
            async with seats:  # nobody is accepted while all are taken
                pass
            try:
                stream = await listener.accept()
            except OSError:
                await trio.sleep(0.1)  # no more descriptors: those who are there will leave
                continue
            start(_answer, stream, seats)


async def _answer(stream: trio.abc.Stream, seats: trio.CapacityLimiter) -> None:
    """Answer one request and end the connection."""
    async with seats:
        with trio.move_on_after(EXCHANGE_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                head = b""
                while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
                    piece = await stream.receive_some(_HEAD_BYTES)
                    if not piece:
                        return
                    head += piece
                await stream.send_all(_ALIVE if head.startswith(b"GET /healthz ") else _not_ready())


def _not_ready() -> bytes:
    body = msgspec.json.encode(problem(ErrorCode.UNAVAILABLE, _REASON, STORE_RETRY_SECONDS))
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"Retry-After: {STORE_RETRY_SECONDS:.0f}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
