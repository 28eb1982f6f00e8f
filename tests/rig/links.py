"""Links over socket pairs: the node's end of a connection in the test's hands, and the other end as a socket."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from chatd.link import Link
from chatd.poller import Poller
from chatd.tls import TlsLink

ADDRESS = "192.0.2.1"


@asynccontextmanager
async def running_poller() -> AsyncIterator[Poller]:
    """Run a poller while the block lasts."""
    poller = Poller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        yield poller
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def plain_link(buffer: int = 0) -> AsyncIterator[tuple[Link, socket.socket]]:
    """Make a link and the socket of who is at its other end; `buffer` bounds what the kernel takes from the link."""
    async with running_poller() as poller, _pair(buffer) as (ours, theirs):
        link = Link(ours, ADDRESS, poller)
        try:
            yield link, theirs
        finally:
            link.close()


@asynccontextmanager
async def tls_link(context: ssl.SSLContext, buffer: int = 0) -> AsyncIterator[tuple[TlsLink, socket.socket]]:
    """Make a link that speaks TLS, and the socket of who is at its other end."""
    async with running_poller() as poller, _pair(buffer) as (ours, theirs):
        link = TlsLink(ours, ADDRESS, poller, context)
        try:
            yield link, theirs
        finally:
            link.close()


@asynccontextmanager
async def _pair(buffer: int) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        yield ours, theirs
