"""permessage-deflate (RFC 7692) without context takeover: no connection keeps zlib state between messages.

That is what lets one compressed frame serve every reader of a channel.
"""

import zlib

from protocol.codes import CloseCode
from protocol.writer import FrameError, server_frame

# A sender ends its message with an empty stored block and takes these four bytes of it away; the receiver puts them
# back.
_TAIL = b"\x00\x00\xff\xff"

# An empty final block. A message that stopped in the middle of a block does not come to an end with it.
_END = _TAIL + b"\x03\x00"

_WINDOW_BYTES = 32768

# zlib refers back at most its window less this (MIN_LOOKAHEAD in deflate.h, part of MAX_DIST).
_LOOKAHEAD = 262

# zlib's `memLevel` for messages under this size; it loses them nothing.
_SMALL_BYTES = 8192
_SMALL_MEMORY = 5

# zlib starts anew after each final block (RFC 7692 section 7.2.3.5 allows them). No sender makes so many of them in one
# message, and without a bound two bytes would cost as much as a whole message.
_FINAL_BLOCKS = 256


class Deflate:
    """Compresses messages for every connection that agreed on the same window."""

    __slots__ = ("_level", "_min_bytes", "_window_bits")

    def __init__(self, window_bits: int, level: int, min_bytes: int) -> None:
        # zlib makes no raw stream with a window of 256 bytes. Its next larger one serves: zlib never refers back
        # farther than its window less the lookahead, here 512 - 262 = 250, which a reader with 256 bytes has.
        self._window_bits = max(window_bits, 9)
        self._level = level
        self._min_bytes = min_bytes

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Make one whole unmasked frame, compressed where that makes it smaller."""
        size = len(payload)
        if size >= self._min_bytes:
            # A window that holds the whole message serves as well as a larger one, and less memory is less to clear:
            # 5 µs instead of up to 56 µs for a message of 200 bytes, to the same result.
            window_bits = min(self._window_bits, max(9, (size + _LOOKAHEAD).bit_length()))
            memory_level = _SMALL_MEMORY if size < _SMALL_BYTES else zlib.DEF_MEM_LEVEL
            stream = zlib.compressobj(self._level, zlib.DEFLATED, -window_bits, memory_level)
            small = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
            if len(small) - len(_TAIL) < size:
                return server_frame(opcode, small[: -len(_TAIL)], True)
        return server_frame(opcode, payload)


class Inflater:
    """Inflates one message, in as many pieces as it comes, onto the end of a buffer."""

    __slots__ = ("_buffer", "_final_blocks", "_max_bytes", "_stream")

    def __init__(self, buffer: bytearray, max_bytes: int) -> None:
        self._buffer = buffer
        self._max_bytes = max_bytes
        self._final_blocks = 0
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes) -> None:
        """Inflate more of the message, but never more than one byte over the limit.

        Raises:
            FrameError: 1007, this is no deflate data. A message over the limit is for the caller to see.
        """
        try:
            while data and len(self._buffer) <= self._max_bytes:
                if self._stream.eof:
                    self._restart()
                self._buffer += self._stream.decompress(data, self._max_bytes + 1 - len(self._buffer))
                data = self._stream.unused_data if self._stream.eof else b""
        except zlib.error as error:
            raise FrameError(CloseCode.INVALID_DATA, "the message cannot be inflated") from error

    def finish(self) -> None:
        """Put the tail back and check that the message ends where a block does.

        Raises:
            FrameError: 1007, it does not.
        """
        if self._stream.eof:  # a final block, with nothing after it: lenient, but there is one way to read it
            return
        self.feed(_END)
        if len(self._buffer) <= self._max_bytes and not self._stream.eof:
            raise FrameError(CloseCode.INVALID_DATA, "the compressed message is incomplete")

    def _restart(self) -> None:
        """Go on after a final block; what follows it may refer back to what came before it."""
        self._final_blocks += 1
        if self._final_blocks > _FINAL_BLOCKS:
            raise FrameError(CloseCode.INVALID_DATA, "the compressed message has too many final blocks")
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS, zdict=bytes(self._buffer[-_WINDOW_BYTES:]))


def inflate_whole(payload: bytes, max_bytes: int) -> bytes | None:
    """Inflate one whole message in one step; None where it is too large, broken, or in any way unusual."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(payload + _END, max_bytes + 1)
    except zlib.error:
        return None
    return data if stream.eof and not stream.unused_data and len(data) <= max_bytes else None


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """Inflate one whole message.

    Raises:
        FrameError: 1009, it is larger than that (no more was inflated); 1007, it is no deflate data, or incomplete.
    """
    data = inflate_whole(payload, max_bytes)
    if data is not None:
        return data
    buffer = bytearray()
    inflater = Inflater(buffer, max_bytes)
    inflater.feed(payload)
    inflater.finish()
    if len(buffer) > max_bytes:
        raise FrameError(CloseCode.TOO_BIG, f"the message is larger than {max_bytes} bytes")
    return bytes(buffer)
