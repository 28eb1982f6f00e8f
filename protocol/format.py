"""How one session wants its frames: a codec, and a compression or none. Sessions of the same format share frames."""

from collections.abc import Callable
from functools import partial
from struct import Struct

from protocol.codec import JSON, Codec
from protocol.deflate import Deflate
from protocol.frames import server_frame
from protocol.hot import message_frame
from protocol.messages import Event
from protocol.plain import message_text

_medium_head = Struct(">BBH").pack


MessageFrame = Callable[[bytes, int, str, str, int, bytes], bytes | None]
"""What `protocol.plain.message_frame` is."""


class Format:
    """A codec and a compression. Made once for each pair, so that `is` tells formats apart."""

    __slots__ = ("_encode", "_first", "codec", "deflate", "is_plain_json", "message")

    def __init__(self, codec: Codec, deflate: Deflate | None) -> None:
        self.codec = codec
        self.deflate = deflate
        self._encode: Callable[[Event], bytes] = codec.encode
        self._first = server_frame(codec.opcode, b"")[0]
        self.is_plain_json = codec is JSON and deflate is None
        self.message: MessageFrame | None = None
        """Makes the frame of a message from its parts, or None where these need escaping; only for JSON."""
        if codec is JSON:
            self.message = message_frame if deflate is None else self._message

    def frame(self, event: Event) -> bytes:
        """Encode an event as one whole WebSocket frame."""
        return self.frame_bytes(self._encode(event))

    def _message(self, start: bytes, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
        text = message_text(start, seq, sender, key, at, body)
        return None if text is None else self.frame_bytes(text)

    def frame_bytes(self, payload: bytes) -> bytes:
        """Make the frame of an event that is encoded already."""
        if self.deflate is not None:
            return self.deflate.frame(self.codec.opcode, payload)
        size = len(payload)
        if 126 <= size < 65536:  # as most events are; `server_frame` would be one more call
            return _medium_head(self._first, 126, size) + payload
        return server_frame(self.codec.opcode, payload)


class Formats:
    """Every format in use on a node, made when a session first asks for it. There are few: 2 codecs × 9 windows."""

    def __init__(self, *, deflate_level: int, deflate_min_bytes: int) -> None:
        self._make_deflate = partial(Deflate, level=deflate_level, min_bytes=deflate_min_bytes)
        self._formats: dict[tuple[str, int], Format] = {}

    def get(self, codec: Codec, window_bits: int) -> Format:
        """Return the format of a codec and a negotiated window (0: no compression)."""
        key = (codec.subprotocol, window_bits)
        known = self._formats.get(key)
        if known is None:
            deflate = self._make_deflate(window_bits=window_bits) if window_bits else None
            known = self._formats[key] = Format(codec, deflate)
        return known
