"""How WebSocket frames are read (RFC 6455, RFC 7692): bytes in, whole messages and control frames out. The hot path.

Messages that came whole, in one frame, are read by `protocol.hot.read_whole`. Everything else goes frame by
frame through `_head` and `_payload`, which keep what is unfinished in a `_Message`.
"""

from codecs import utf_8_decode

import msgspec

from protocol.codes import CloseCode
from protocol.deflate import Inflater, inflate
from protocol.hot import read_whole
from protocol.writer import FrameError, Opcode, apply_mask, client_frame, close_payload, server_frame

__all__ = ["FrameError", "FrameLimits", "FrameReader", "Opcode", "client_frame", "close_payload", "server_frame"]

_TEXT = Opcode.TEXT
_COMPRESSED = 0x40

# RFC 6455 section 7.4 with the IANA registry: 1004 is reserved; 1005, 1006 and 1015 are never sent.
_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


class FrameLimits(msgspec.Struct, frozen=True):
    """What one peer may send: the size of a frame, of a message (joined and inflated), and the frames of a message."""

    frame_bytes: int
    message_bytes: int
    fragments: int


class _Message:
    """A message of which not everything is there: between two reads, or between two of its fragments."""

    __slots__ = ("final", "fragments", "inflater", "left", "mask", "opcode", "payload", "text_rest")

    def __init__(self, opcode: Opcode) -> None:
        self.opcode = opcode
        self.payload = bytearray()  # joined and inflated so far; its growth is amortised, so small reads cost no more
        self.inflater: Inflater | None = None
        self.text_rest = b""  # the beginning of a character whose end has not come
        self.fragments = 0
        # The frame that is being read.
        self.left = 0  # bytes of it that have not come
        self.final = False
        self.mask = b""  # turned so that it begins at the next byte


class FrameReader:
    """Reads one peer's frames. An idle one holds no buffer.

    `feed` never raises. When the peer breaks a rule, what came before is still returned and `error` is set; then, as
    after a close frame, everything that follows is ignored.
    """

    __slots__ = ("_at_once_bytes", "_inflate", "_limits", "_masked", "_message", "_over", "_rest", "error")

    def __init__(self, limits: FrameLimits, *, inflate: bool = False, masked: bool = True) -> None:
        self.error: FrameError | None = None
        self._limits = limits
        self._at_once_bytes = min(limits.frame_bytes, limits.message_bytes)
        self._inflate = inflate
        self._masked = masked
        self._message: _Message | None = None
        self._rest = b""  # an incomplete header or control frame: never long
        self._over = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the messages and control frames that these bytes completed, in their order."""
        events: list[tuple[int, bytes]] = []
        if self._over:
            return events
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            at = self._whole(data, 0, events) if self._message is None else 0
            if at < len(data):
                self._read(data, at, events)
        except FrameError as error:
            # A new one: the traceback of the one that was raised holds this reader and these bytes.
            self.error = FrameError(error.code, error.reason)
            self._stop()
        return events

    def _read(self, data: bytes, at: int, events: list[tuple[int, bytes]]) -> None:
        """Read on where no whole and simple frame begins."""
        end = len(data)
        while at < end and not self._over:
            message = self._message
            if message is not None and message.left:
                at = self._payload(message, data, at, events)
            else:
                start = self._head(data, at, events)
                if start == at:
                    self._rest = data[at:]
                    return
                at = start
            if self._message is None and not self._over:
                at = self._whole(data, at, events)

    def _whole(self, data: bytes, at: int, events: list[tuple[int, bytes]]) -> int:
        """Read the frames from here on that are whole and unfragmented; return where the first other one begins.

        It does not say what is wrong with a frame: `_head` does.
        """
        first = len(events)
        at = read_whole(data, at, self._at_once_bytes, self._masked, self._inflate, events)
        if self._inflate:
            self._inflate_from(first, events)
        return at

    def _inflate_from(self, first: int, events: list[tuple[int, bytes]]) -> None:
        """Inflate the messages from here on that came compressed; one that is broken takes with it what comes after."""
        for index in range(first, len(events)):
            kind, payload = events[index]
            if kind & _COMPRESSED:
                try:
                    payload = inflate(payload, self._limits.message_bytes)
                    opcode = kind ^ _COMPRESSED
                    if opcode == Opcode.TEXT and not payload.isascii():
                        _check_text(payload, True)
                except FrameError:
                    del events[index:]
                    raise
                events[index] = opcode, payload

    def _head(self, data: bytes, at: int, events: list[tuple[int, bytes]]) -> int:
        """Read one frame's header, or one whole control frame; return where it ends, or `at` when it is not all there.

        Every limit is checked here, before any of the payload is kept.
        """
        if len(data) - at < 2:
            return at
        first, second = data[at], data[at + 1]
        opcode = self._check_head(first, second)
        size = second & 0x7F
        start = at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            if len(data) < start:
                return at
            wide, size = size, int.from_bytes(data[at + 2 : start])
            if size < (126 if wide == 126 else 1 << 16):
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length has more bytes than it needs")
            if size >> 63:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length has its highest bit set")
        if opcode < Opcode.CLOSE:
            self._check_limits(first, size)
        mask = b""
        if self._masked:
            mask = data[start : start + 4]
            start += 4
        if opcode >= Opcode.CLOSE:
            stop = start + size
            if len(data) < stop:
                return at
            payload = data[start:stop]
            self._control(opcode, apply_mask(payload, mask) if mask else payload, events)
            return stop
        if len(data) < start:
            return at
        self._open(first, size, mask, events)
        return start

    def _check_head(self, first: int, second: int) -> Opcode:
        """Check what the first two bytes say, with what is unfinished; return the opcode."""
        opcode = first & 0x0F
        if first & 0x30:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        if first & _COMPRESSED and not (self._inflate and (opcode == Opcode.TEXT or opcode == Opcode.BINARY)):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "RSV1 is set where nothing is compressed")
        if opcode > Opcode.PONG or Opcode.BINARY < opcode < Opcode.CLOSE:
            raise FrameError(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if (second >= 0x80) is not self._masked:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a client's frame has no mask" if self._masked else "masked")
        if opcode >= Opcode.CLOSE:
            if first < 0x80:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented")
            if second & 0x7F > 125:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is longer than 125 bytes")
        elif opcode == Opcode.CONTINUATION:
            if self._message is None:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a continuation of nothing")
        elif self._message is not None:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a message begins inside another one")
        return Opcode(opcode)

    def _check_limits(self, first: int, size: int) -> None:
        limits = self._limits
        message = self._message
        if size > limits.frame_bytes:
            raise FrameError(CloseCode.TOO_BIG, f"a frame is larger than {limits.frame_bytes} bytes")
        if message is None:
            if size > limits.message_bytes and not first & _COMPRESSED:
                raise _too_big(limits)
            return
        if message.fragments >= limits.fragments:
            raise FrameError(CloseCode.TOO_BIG, f"a message has more than {limits.fragments} fragments")
        # What a compressed message comes to is seen when it is inflated.
        if message.inflater is None and len(message.payload) + size > limits.message_bytes:
            raise _too_big(limits)

    def _open(self, first: int, size: int, mask: bytes, events: list[tuple[int, bytes]]) -> None:
        """Begin the payload of a data frame."""
        message = self._message
        if message is None:
            message = self._message = _Message(Opcode(first & 0x0F))
            if first & _COMPRESSED:
                message.inflater = Inflater(message.payload, self._limits.message_bytes)
        message.fragments += 1
        message.final = first >= 0x80
        message.mask = mask
        message.left = size
        if not size:
            self._end_frame(message, events)

    def _payload(self, message: _Message, data: bytes, at: int, events: list[tuple[int, bytes]]) -> int:
        """Take what has come of a data frame's payload; return where it ends."""
        chunk = data[at : at + message.left]
        size = len(chunk)
        if message.mask:
            turn = size & 3
            mask = message.mask
            chunk = apply_mask(chunk, mask)
            message.mask = mask[turn:] + mask[:turn]
        message.left -= size
        self._take(message, chunk)
        if not message.left:
            self._end_frame(message, events)
        return at + size

    def _take(self, message: _Message, chunk: bytes) -> None:
        """Add unmasked bytes to the message and check them as far as they go."""
        if message.inflater is None:
            message.payload += chunk
        else:
            before = len(message.payload)
            message.inflater.feed(chunk)
            chunk = bytes(message.payload[before:])
        self._check(message, chunk)

    def _check(self, message: _Message, fresh: bytes) -> None:
        """Check what was added to the message: text fails here, as soon as the wrong byte is there."""
        if message.opcode is _TEXT and (message.text_rest or not fresh.isascii()):
            message.text_rest = _check_text(message.text_rest + fresh, False)
        if len(message.payload) > self._limits.message_bytes:
            raise _too_big(self._limits)

    def _end_frame(self, message: _Message, events: list[tuple[int, bytes]]) -> None:
        if not message.final:
            return
        if message.inflater is not None:
            before = len(message.payload)
            message.inflater.finish()
            self._check(message, bytes(message.payload[before:]))
        if message.text_rest:
            raise FrameError(CloseCode.INVALID_DATA, "a text ends inside a character")
        self._message = None
        events.append((message.opcode, bytes(message.payload)))

    def _control(self, opcode: Opcode, payload: bytes, events: list[tuple[int, bytes]]) -> None:
        if opcode is Opcode.CLOSE:
            _check_close(payload)
            self._stop()
        events.append((opcode, payload))

    def _stop(self) -> None:
        self._over = True
        self._message = None


def _check_text(data: bytes, final: bool) -> bytes:
    """Check that these bytes are UTF-8 and return the beginning of a character that they end with."""
    try:
        _, used = utf_8_decode(data, "strict", final)
    except UnicodeDecodeError as error:
        raise FrameError(CloseCode.INVALID_DATA, "a text is not UTF-8") from error
    rest = data[used:]
    # Python waits for the third byte of a surrogate, because its error handler "surrogatepass" needs it.
    if rest[:1] == b"\xed" and rest[1:2] >= b"\xa0":
        raise FrameError(CloseCode.INVALID_DATA, "a text is not UTF-8")
    return rest


def _check_close(payload: bytes) -> None:
    """Check a close frame's payload: nothing, or a code that may be sent and a reason in UTF-8."""
    if not payload:
        return
    if len(payload) == 1:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a close frame has half a code")
    code = int.from_bytes(payload[:2])
    if code not in _CLOSE_CODES:
        raise FrameError(CloseCode.PROTOCOL_ERROR, f"{code} is no close code that may be sent")
    _check_text(payload[2:], True)


def _too_big(limits: FrameLimits) -> FrameError:
    return FrameError(CloseCode.TOO_BIG, f"a message is larger than {limits.message_bytes} bytes")
