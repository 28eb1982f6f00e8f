"""One system call for the sends of a turn: Linux' io_uring, by hand.

Theory of operation. A `send` to a socket is some two microseconds of the kernel's network code behind a microsecond or
two of entering and leaving the kernel. A ring (io_uring(7)) is an array of requests in memory that program and kernel
share: the hub writes one entry for each reader and enters the kernel once for all of them. Nothing happens behind the
program's back: with MSG_DONTWAIT every send is tried, in order, inside `io_uring_enter`, and what the socket refuses is
reported when it returns. So a batch is the same as as many `socket.send`s, and the bytes may be reused after it.

No entry of a batch may depend on another: a socket must not be twice in one batch, for if the first send is taken in
part, the second must not follow.

The layouts and numbers are those of <linux/io_uring.h>. Only what a full success does not report is read back
(IOSQE_CQE_SKIP_SUCCESS); MSG_WAITALL makes a send that was taken in part count as a failure, with the bytes it took.
Everything is written and read by the one thread that enters the kernel (IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN), so
no memory barrier is needed. Needs Linux 6.1 and a system that allows io_uring, which container engines often do not:
where `open_ring` returns None, the hub sends with one call for each reader.
"""

import ctypes
import mmap
import os
import socket
from array import array
from collections.abc import Callable, Sequence
from errno import EAGAIN
from struct import Struct

_SYS_SETUP = 425
_SYS_ENTER = 426

_SETUP_CLAMP = 1 << 4
_SETUP_SUBMIT_ALL = 1 << 7
_SETUP_SINGLE_ISSUER = 1 << 12
_SETUP_DEFER_TASKRUN = 1 << 13
_SETUP = _SETUP_CLAMP | _SETUP_SUBMIT_ALL | _SETUP_SINGLE_ISSUER | _SETUP_DEFER_TASKRUN
_FEATURE_SINGLE_MMAP = 1 << 0
_FEATURE_CQE_SKIP = 1 << 11
_FEATURES = _FEATURE_SINGLE_MMAP | _FEATURE_CQE_SKIP
_OFFSET_ENTRIES = 0x10000000

_OP_SEND = 26
_CQE_SKIP_SUCCESS = 1 << 6
_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_WAITALL | socket.MSG_NOSIGNAL

# Of struct io_uring_params: sq_entries, cq_entries, 3 × u32, features, 4 × u32; then two tables of offsets, each
# head, tail, ring_mask, ring_entries, flags or overflow, dropped or cqes, array or flags, u32, u64.
_Params = Struct("5I I 4I 8IQ 8IQ")
# Of struct io_uring_sqe: opcode, flags, ioprio, fd | off, addr, len, msg_flags, user_data, 24 bytes of no use here.
_Head = Struct("BBHi")
_Rest = Struct("QQIIQ24x")
_Entry = Struct("8sQQIIQ24x")
_ENTRY_BYTES = 64
_ENTRY_WORDS = 8
_USER_DATA_WORD = 4
# Of struct io_uring_cqe: user_data, res, flags.
_Completion = Struct("QiI")
_U32 = 0xFFFFFFFF

# Sends of one batch; as many as the hub sends before others get their turn (`broker.fanout_slice`), or nearly.
ENTRIES = 1024
# Bytes of one batch, copied here, where the kernel finds them; longer ones go out without the ring.
SCRATCH_BYTES = 1 << 20

Refusal = tuple[int, int]
"""The number of a send in its batch, and what it came to: the bytes that were taken, or a negative errno."""


def ring_head(fd: int) -> bytes:
    """Return how an entry that sends to this socket begins."""
    return _Head.pack(_OP_SEND, _CQE_SKIP_SUCCESS, 0, fd)


class Ring:
    """Batches of sends. Opened, used and closed on one thread."""

    def __init__(self, fd: int, params: tuple[int, ...]) -> None:
        sq_entries, cq_entries = params[0], params[1]
        _, sq_tail, sq_mask, _, _, _, sq_array = params[10:17]
        cq_head, cq_tail, cq_mask, _, _, cq_cqes = params[19:25]
        self._fd = fd
        self._enter = _enter_of(fd)
        ring_bytes = max(sq_array + 4 * sq_entries, cq_cqes + _Completion.size * cq_entries)
        self._rings = mmap.mmap(fd, ring_bytes, offset=0)
        self._sqes = mmap.mmap(fd, sq_entries * _ENTRY_BYTES, offset=_OFFSET_ENTRIES)
        self._scratch = mmap.mmap(-1, SCRATCH_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._scratch))
        words = memoryview(self._rings).cast("I")
        self._words = words
        self._sq_tail = sq_tail // 4
        self._cq_head = cq_head // 4
        self._cq_tail = cq_tail // 4
        self._cq_mask = words[cq_mask // 4]
        self._cqes = cq_cqes
        self._numbers = memoryview(array("Q", range(sq_entries)))
        self._user_data = memoryview(self._sqes).cast("Q")[_USER_DATA_WORD::_ENTRY_WORDS]
        self._entries = memoryview(self._sqes)
        self.size = sq_entries
        self._array = words[sq_array // 4 : sq_array // 4 + sq_entries]
        self._numbers_32 = memoryview(array("I", range(sq_entries)))
        self._sq_mask = words[sq_mask // 4]

    def send_same(self, data: bytes, heads: Sequence[bytes]) -> Sequence[Refusal]:
        """Send the same bytes to up to `size` sockets, given by their `ring_head`; return what was not wholly taken."""
        count = len(heads)
        self._scratch[: len(data)] = data
        rest = _Rest.pack(0, self._address, len(data), _SEND_FLAGS, 0)
        self._entries[: count * _ENTRY_BYTES] = rest.join(heads) + rest
        self._user_data[:count] = self._numbers[:count]
        return self._submit(count)

    def send_each(self, items: Sequence[tuple[bytes, bytes]]) -> Sequence[Refusal]:
        """Send to each of up to `size` sockets (its `ring_head`) bytes of its own; return what was not wholly taken.

        All of it together must fit SCRATCH_BYTES.
        """
        pack = _Entry.pack
        address = self._address
        entries = []
        for number, (head, data) in enumerate(items):
            size = len(data)
            entries.append(pack(head, 0, address, size, _SEND_FLAGS, number))
            address += size
        data = b"".join([data for _, data in items])
        self._scratch[: len(data)] = data
        count = len(entries)
        self._entries[: count * _ENTRY_BYTES] = b"".join(entries)
        return self._submit(count)

    def _submit(self, count: int) -> Sequence[Refusal]:
        """Enter the kernel with the first `count` entries."""
        words = self._words
        tail = words[self._sq_tail]
        first = tail & self._sq_mask
        end = first + count
        # The array says which entry each place of the ring means.
        if end <= self.size:
            self._array[first:end] = self._numbers_32[:count]
        else:
            fit = self.size - first
            self._array[first:] = self._numbers_32[:fit]
            self._array[: count - fit] = self._numbers_32[fit:count]
        words[self._sq_tail] = (tail + count) & _U32
        taken = max(0, self._enter(count))
        refusals = self._refusals() if words[self._cq_tail] != words[self._cq_head] else []
        if taken < count:  # the kernel has no memory for more now
            words[self._sq_tail] = (tail + taken) & _U32
            refusals += [(number, -EAGAIN) for number in range(taken, count)]
        return refusals

    def _refusals(self) -> list[Refusal]:
        words = self._words
        head, tail = words[self._cq_head], words[self._cq_tail]
        refusals = []
        while head != tail:
            place = self._cqes + (head & self._cq_mask) * _Completion.size
            number, result, _ = _Completion.unpack_from(self._rings, place)
            refusals.append((number, result))
            head = (head + 1) & _U32
        words[self._cq_head] = head
        return refusals

    def close(self) -> None:
        """Give the ring back to the kernel."""
        os.close(self._fd)


def _enter_of(fd: int) -> Callable[[int], int]:
    call = _libc().syscall
    sys_enter, ring_fd, nothing = ctypes.c_long(_SYS_ENTER), ctypes.c_long(fd), ctypes.c_long(0)

    def enter(count: int) -> int:
        taken: int = call(sys_enter, ring_fd, ctypes.c_long(count), nothing, nothing, nothing, nothing)
        return taken

    return enter


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def open_ring() -> Ring | None:
    """Make a ring; None where the system has none, or not one that can do this."""
    params = ctypes.create_string_buffer(_Params.size)
    _Params.pack_into(params, 0, 0, 0, _SETUP, *[0] * (len(_Params.unpack(bytes(_Params.size))) - 3))
    try:
        fd = _libc().syscall(ctypes.c_long(_SYS_SETUP), ctypes.c_long(ENTRIES), params)
    except (OSError, AttributeError):
        return None
    if fd < 0:
        return None
    values = _Params.unpack(params)
    if values[5] & _FEATURES != _FEATURES:
        os.close(fd)
        return None
    return Ring(fd, values)
