"""One accepted TCP connection: reads that wait, and sends that never do.

`Link` is plain TCP, `TlsLink` (chatd/tls.py) the same over TLS; a session does not know which it has.
"""

import socket
from collections.abc import Callable

import trio

from chatd.poller import Poller, Watch
from chatd.ring import ring_head

# One read takes at most this. Linux hands over what is there; more is read after other tasks had their turn.
READ_BYTES = 65536


class Link(Watch):
    """A TCP connection. Only the task that owns it reads; anybody on the trio thread may send."""

    can_read_nowait = True

    __slots__ = ("_handed", "_more", "_poller", "_recv", "address", "ring_head", "send", "sock")

    def __init__(self, sock: socket.socket, address: str, poller: Poller) -> None:
        super().__init__(sock.fileno())
        self.sock = sock
        self.address = address
        self.send: Callable[[bytes | memoryview], int] = sock.send
        """Hand bytes over without waiting; returns how many were taken. Raises BlockingIOError or OSError."""
        self.ring_head: bytes | None = ring_head(self.fd)
        """What a ring needs to do the same as `send`; None where only `send` can."""
        self._recv = sock.recv
        self._poller = poller
        self._more = True  # the last read may have left something behind
        self._handed: bytes | None = None  # what `read_nowait` read for `receive`
        poller.add(self)

    async def receive(self) -> bytes:
        """Return the next bytes; empty at the end of the stream, and when the connection is broken."""
        while True:
            if self._handed is not None:
                data, self._handed = self._handed, None
                return data
            if self._more or self.ended:
                try:
                    data = self._recv(READ_BYTES)
                except BlockingIOError:
                    self._more = False
                except OSError:
                    return b""
                else:
                    self._more = len(data) == READ_BYTES
                    if self._more:
                        await trio.lowlevel.checkpoint()  # a flood must not starve the others
                    return data
            await self._poller.readable(self)
            self._more = self._more or self._handed is None

    def read_nowait(self) -> bytes | None:
        """Return what came, while the owner waits in `receive`; None if that is for the owner to find out.

        That is so at the end of the stream, after an error, and when there may be more than this.
        """
        try:
            data = self._recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data or len(data) == READ_BYTES:
            self._more = True
            self._handed = data
            return None
        return data

    def hand_over(self, data: bytes) -> None:
        """Let the owner's `receive` return these bytes, which `read_nowait` returned."""
        self._handed = data

    async def peek(self, known: int) -> bytes:
        """Return the first bytes without taking them, once there are more than `known` of them, or no more come."""
        while True:
            try:
                data = self.sock.recv(READ_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                data = b""
            else:
                if not data:
                    return data
            if len(data) > known or self.ended:
                return data
            await self._poller.readable(self)

    async def handshake(self) -> str:
        """Prepare the connection; return the protocol that was agreed on below HTTP ("http/1.1", "h2")."""
        return "http/1.1"

    async def send_all(self, data: bytes) -> None:
        """Send everything, waiting as long as the other side takes; for HTTP and refusals, not for sessions.

        Raises:
            OSError: The connection is broken.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[self.send(view) :]
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        """Wait until the socket takes bytes again. If it became writable meanwhile, the edge is still to come."""
        event = trio.Event()
        self.on_writable = event.set
        try:
            await event.wait()
        finally:
            self.quiet()

    def quiet(self) -> None:
        """Stop telling the owner that the socket is writable."""
        self.on_writable = None

    def shut(self) -> None:
        """End both directions now: the owner's `receive` returns empty, and `close` follows from there."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.ended = True  # the other side was quicker

    def break_off(self) -> None:
        """End the connection after a fault: its owner finds the end of the stream."""
        super().break_off()
        self.shut()

    def close(self) -> None:
        """Close the socket. Nothing may be called after this."""
        self._poller.remove(self)
        self.sock.close()
