"""When bytes arrived at a client, as the kernel noted it.

A generator plays a thousand clients on one core: the last of them would read its message milliseconds after it is
there, only because the generator read for the others first. So the kernel notes the time when a segment comes in
(SO_TIMESTAMPNS, socket(7)), and `recvmsg` tells it: of the last segment, where one read brought several.
"""

import socket
import struct
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
Control = Sequence[tuple[int, int, bytes]]
"""The ancillary data of `recvmsg`."""

_TIMESTAMPNS = 35  # SO_TIMESTAMPNS of asm-generic/socket.h; the socket module does not name it
_Stamp = struct.Struct("@qq")  # struct timespec where time_t and long have 64 bits: seconds, nanoseconds
_TRIES = 5

CONTROL_BYTES = socket.CMSG_SPACE(_Stamp.size)


def note_arrivals(sock: socket.socket) -> None:
    """Let the kernel note when bytes come in on this socket."""
    sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


def stamp_of(control: Control) -> bytes:
    """Return when what was read arrived; now, where the kernel has not noted it (the first moments, an end)."""
    return control[0][2] if control else _Stamp.pack(*divmod(time.time_ns(), 1_000_000_000))


def monotonic_ns(stamps: bytes | bytearray) -> Times:
    """Turn stamps, one after the other, into times of `time.monotonic_ns`.

    The kernel notes times of the day: exact as long as nobody set the clock since they were noted.
    """
    seconds, nanoseconds = np.frombuffer(stamps, np.int64).reshape(-1, 2).T
    times: Times = seconds * 1_000_000_000 + nanoseconds - _ahead_ns()
    return times


def _ahead_ns() -> int:
    """Return how far the time of the day is ahead of the monotonic clock, by the quickest of some readings."""
    found = []
    for _ in range(_TRIES):
        before = time.monotonic_ns()
        today = time.time_ns()
        after = time.monotonic_ns()
        found.append((after - before, today - (before + after) // 2))
    return min(found)[1]
