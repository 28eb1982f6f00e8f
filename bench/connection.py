"""One simulated client: a raw non-blocking socket, what it expects next, and what it has not been answered."""

import contextlib
import socket
from collections.abc import Mapping
from enum import IntEnum

from bench.arrivals import note_arrivals
from bench.seats import STREAM, Cursor, Seat, stream_name
from bench.watcher import Watcher
from bench.wire import SendTemplate

_BIND_ADDRESS_NO_PORT = 24  # of linux/in.h; the socket module does not name it in Python 3.11


class Stage(IntEnum):
    """How far a connection is."""

    NEW = 0
    CONNECTING = 1  # the kernel's handshake runs
    UPGRADING = 2  # the request was sent
    GREETING = 3  # the first command was sent
    SUBSCRIBING = 4
    READY = 5
    CLOSED = 6


class Connection:
    """The state of one client; the crew moves it along."""

    __slots__ = (
        "began_ns",
        "close_code",
        "epoch",
        "expected",
        "fd",
        "holes",
        "out",
        "pending",
        "receive",
        "repeats",
        "rest",
        "seat",
        "sent",
        "seq_before",
        "sock",
        "stage",
        "stopped",
        "strays",
        "streams",
        "template",
        "watcher",
    )

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.expected = seat.starts_at
        self.sent = 0
        self.holes = 0
        self.repeats = 0
        self.strays = 0
        self.streams = dict.fromkeys(seat.hears, 0)
        self.watcher = Watcher(seat.watches) if seat.watches else None
        self.stopped = False
        self.template: SendTemplate | None = None
        self.pending: dict[int, int] = {}
        self.epoch = ""
        self.seq_before = 0
        self._fresh()

    def _fresh(self) -> None:
        self.stage = Stage.NEW
        self.rest = b""
        self.out = b""
        self.fd = -1
        self.began_ns = 0
        self.close_code = 0

    def open(self, address: tuple[str, int], source: str) -> int:
        """Begin to connect from this source address; return the descriptor, writable when the kernel is done.

        Raises:
            OSError: No port or descriptor is left.
        """
        self._fresh()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        note_arrivals(self.sock)
        if source:
            # The port is chosen when it connects: one that is bound before cannot be shared between destinations.
            self.sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            self.sock.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            self.sock.connect(address)
        self.receive = self.sock.recvmsg
        self.fd = self.sock.fileno()
        self.stage = Stage.CONNECTING
        return self.fd

    def send(self, data: bytes) -> bool:
        """Send what the kernel takes now and keep the rest; tell whether everything went."""
        if self.out:
            self.out += data
            return False
        try:
            taken = self.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            return True  # the read side will see the end
        if taken < len(data):
            self.out = data[taken:]
            return False
        return True

    def send_rest(self) -> bool:
        """Send what waited; tell whether everything went."""
        data, self.out = self.out, b""
        return self.send(data)

    def take(self, first: int, after: int) -> None:
        """Note that the counters from `first` up to `after` (not included) came, in order."""
        if first > self.expected:
            self.holes += first - self.expected
        elif first < self.expected:
            self.repeats += min(after, self.expected) - first
        self.expected = max(self.expected, after)

    def take_of_stream(self, counter: int) -> None:
        """Note that one message of one of several streams came."""
        stream, place = divmod(counter, STREAM)
        expected = self.streams.get(stream)
        if expected is None:
            self.strays += 1
            return
        self.holes += max(0, place - expected)
        self.repeats += place < expected
        self.streams[stream] = max(expected, place + 1)

    def unread(self, sent: Mapping[str, int]) -> int:
        """Count what was sent to this client and has not come."""
        if self.streams:
            return sum(max(0, sent.get(stream_name(one), 0) - expected) for one, expected in self.streams.items())
        return max(0, sent.get(self.seat.reads, 0) - self.expected) if self.seat.reads else 0

    def stand(self, epoch: str, seq: int) -> None:
        """Note where the channel stands now, with all that is expected so far read.

        All messages of the channel are the bench's own, so that its seqs and the counters differ by a constant.
        """
        self.epoch = epoch
        self.seq_before = seq - self.expected

    @property
    def cursor(self) -> Cursor:
        """Where this reader stands."""
        return self.epoch, self.seq_before + self.expected

    def stop_reading(self) -> None:
        """Let the kernel's buffers of this side fill soon.

        Room for a segment of loopback (64 KiB) is left: through less, bytes come by the timer of probes, also later.
        """
        self.stopped = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

    def read_again(self) -> None:
        """Give the kernel's buffer room again."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def close(self) -> None:
        """Close the socket, if there is one; may be called twice."""
        if self.fd >= 0:
            self.sock.close()
            self.fd = -1
        self.stage = Stage.CLOSED
