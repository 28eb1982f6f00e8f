"""A link as a trio stream, for what is not a session: HTTP and the echo route."""

import socket

import trio

from chatd.link import Link


class LinkStream(trio.abc.HalfCloseableStream):
    """Reads and writes a link. Broken connections raise `trio.BrokenResourceError`, as streams do."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, waiting as long as the other side takes."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        try:
            await self._link.send_all(bytes(data))
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: `send_all` finds out."""
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """Say that nothing more is sent, and go on reading."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        try:
            self._link.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes; empty at the end."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        data = await self._link.receive()
        if self._closed:
            raise trio.ClosedResourceError
        return data

    async def aclose(self) -> None:
        """End the connection. The listener closes the socket."""
        if not self._closed:
            self._closed = True
            self._link.shut()
        await trio.lowlevel.checkpoint()
