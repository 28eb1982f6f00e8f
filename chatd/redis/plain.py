"""A TCP connection without TLS, as a stream of trio that costs as few steps as there are system calls."""

import socket

import trio

_READ_BYTES = 65536


class PlainStream(trio.abc.Stream):
    """Reads only when there is something, and sends at once what the kernel takes. One reader, one writer.

    trio's own stream tries to read before it waits, and counts who uses it: twice the time of a read that waits.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take the connection over; the stream that opened it must not be used again."""
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what came; empty at the end.

        Raises:
            BrokenResourceError: The connection is broken.
            ClosedResourceError: It was closed here.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes or _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    def receive_nowait(self) -> bytes:
        """Return what is there; empty if nothing is, or if only `receive_some` can say what is wrong. Never raises."""
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; waits only when the kernel's buffer is full. Raises as `receive_some` does."""
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        view = memoryview(data)
        try:
            while True:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    await self.wait_send_all_might_not_block()
                if not view:
                    return
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return when the kernel takes something."""
        await trio.lowlevel.wait_writable(self._socket)

    async def aclose(self) -> None:
        """Close it, at once; who reads gets `ClosedResourceError`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()
