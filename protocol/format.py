"""How one session wants its frames: a codec, and a compression or none. Sessions of the same format share frames."""

from collections.abc import Callable
from functools import partial
from struct import Struct

from protocol.codec import JSON, Codec
from protocol.deflate import Deflate
from protocol.frames import server_frame
from protocol.hot import message_frame, packed_message_frame, packed_sent_frame, sent_frame
from protocol.messages import Event
from protocol.plain import message_text, packed_message

_medium_head = Struct(">BBH").pack


MessageBytes = Callable[[str, str, int, str, str, int, bytes], bytes | None]
"""What `protocol.plain.message_frame` and `message_text` are."""
SentFrame = Callable[[int, str, str, int, int], bytes | None]
"""What `protocol.plain.sent_frame` is."""


class Format:
    """A codec and a compression. Made once for each pair, so that `is` tells formats apart."""

    __slots__ = ("_encode", "_first", "_text", "codec", "deflate", "message", "sent")

    def __init__(self, codec: Codec, deflate: Deflate | None) -> None:
        self.codec = codec
        self.deflate = deflate
        self._encode: Callable[[Event], bytes] = codec.encode
        self._first = server_frame(codec.opcode, b"")[0]
        is_json = codec is JSON
        self._text: MessageBytes = message_text if is_json else packed_message
        self.message: MessageBytes = message_frame if is_json else packed_message_frame
        """Makes the frame of a message from its parts; None where one of these is unusual."""
        self.sent: SentFrame | None = sent_frame if is_json else packed_sent_frame
        """Makes the frame of the answer to a `send`, in the same way; None where frames are compressed."""
        if deflate is not None:
            self.message, self.sent = self._message, None

    def frame(self, event: Event) -> bytes:
        """Encode an event as one whole WebSocket frame."""
        return self.frame_bytes(self._encode(event))

    def _message(self, channel: str, epoch: str, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
        text = self._text(channel, epoch, seq, sender, key, at, body)
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
