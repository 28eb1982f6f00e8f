"""One connection to one node, for batches of messages alone: a few microseconds of trio's thread for each.

The driver spends far more on a request: objects for its future and its plan, a timer, locks, and two switches of
threads under the interpreter's lock. A batch needs little of that, since it may be written twice: whatever goes wrong
here is left to the driver.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import trio

from storage import cassandra_wire as wire
from storage.cassandra_wire import BrokenFrame, FrameReader, Opcode

_READ_BYTES = 65_536
_MOST_UNANSWERED = 2048  # beyond, the node does not answer, and gets no more

Answered = Callable[[str], None]
"""Called once, with what is wrong, or an empty text."""


class LineBroken(Exception):
    """The connection is of no use, and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a node is entered."""

    address: str
    port: int
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = ""


async def connect(entry: Entry) -> "Line":
    """Open a connection. Who calls it has a deadline for it.

    Raises:
        LineBroken: The node does not answer, or does not let us in.
    """
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(entry.address, entry.port)
    except OSError as error:
        raise LineBroken(str(error)) from error
    try:
        if entry.tls is not None:
            stream = trio.SSLStream(stream, entry.tls, server_hostname=entry.address, https_compatible=True)
        line = Line(stream)
        await line.enter(entry)
    except (trio.BrokenResourceError, BrokenFrame, OSError) as error:
        await trio.aclose_forcefully(stream)
        raise LineBroken(str(error.__cause__ or error) or type(error).__name__) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return line


class Line:
    """Sends batches and takes the answers. All of it is on trio's thread; `run` does the work."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._reader = FrameReader()
        self._waiting: dict[int, tuple[float, Answered]] = {}  # by stream, the oldest first
        self._next = 0
        self._outbox: list[bytes] = []
        self._has_bytes = trio.Event()
        self.is_open = True

    async def enter(self, entry: Entry) -> None:
        """Say the first words, and the password if it is asked for.

        Raises:
            LineBroken: The node refuses.
        """
        opcode, body = await self._ask(Opcode.STARTUP, wire.startup())
        if opcode == Opcode.AUTHENTICATE:
            opcode, body = await self._ask(Opcode.AUTH_RESPONSE, wire.password(entry.user, entry.password))
        if opcode not in (Opcode.READY, Opcode.AUTH_SUCCESS):
            raise LineBroken(wire.error(body) if opcode == Opcode.ERROR else f"it answers {opcode:#x}")

    async def _ask(self, opcode: Opcode, body: bytes) -> tuple[int, bytes]:
        await self._stream.send_all(wire.frame(0, opcode, body))
        while True:
            for _, answer, said in self._reader.feed(await self._receive()):
                return answer, said

    async def _receive(self) -> bytes:
        data = await self._stream.receive_some(_READ_BYTES)
        if not data:
            raise LineBroken("the node closed the connection")
        return bytes(data)

    # Its life.

    async def run(self) -> None:
        """Write and read until the connection breaks or this is cancelled; then what has no answer is told so."""
        why = "the connection was closed"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop)
                nursery.start_soon(self._read_loop)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, BrokenFrame, LineBroken, OSError) as group:
            why = f"the connection broke: {group.exceptions[0]}"
        finally:
            self.is_open = False
            unanswered, self._waiting = self._waiting, {}
            for _, answered in unanswered.values():
                answered(why)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    async def _write_loop(self) -> None:
        while True:
            await self._has_bytes.wait()
            self._has_bytes = trio.Event()
            outbox, self._outbox = self._outbox, []
            await self._stream.send_all(b"".join(outbox))

    async def _read_loop(self) -> None:
        waiting = self._waiting
        while True:
            for stream, opcode, body in self._reader.feed(await self._receive()):
                error = wire.error(body) if opcode == Opcode.ERROR else ""
                _, answered = waiting.pop(stream, _UNKNOWN)
                answered(error)

    # Sending.

    @property
    def can_send(self) -> bool:
        """Tell whether one more request may be made."""
        return self.is_open and len(self._waiting) < _MOST_UNANSWERED

    @property
    def unanswered(self) -> int:
        """How many requests have no answer."""
        return len(self._waiting)

    def waits_since(self) -> float:
        """Return when the oldest request was made that has no answer; the future if there is none."""
        for began, _ in self._waiting.values():
            return began
        return float("inf")

    def send(self, body: bytes, answered: Answered) -> None:
        """Ask for a batch; `answered` is called later."""
        stream = self._next
        while stream in self._waiting:
            stream = (stream + 1) % wire.MOST_STREAMS
        self._next = (stream + 1) % wire.MOST_STREAMS
        self._waiting[stream] = (trio.current_time(), answered)
        self._outbox.append(wire.frame(stream, Opcode.BATCH, body))
        self._has_bytes.set()


def _nobody(_: str) -> None:
    """Take an answer to nothing that was asked."""


_UNKNOWN = (0.0, _nobody)
