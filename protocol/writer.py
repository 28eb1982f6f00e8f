"""How WebSocket frames are written (RFC 6455 section 5), and the words that reading and writing share."""

from enum import IntEnum
from struct import Struct

from protocol.codes import CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

__all__ = ["FrameError", "Opcode", "apply_mask", "client_frame", "close_payload", "server_frame"]

_FIN = 0x80
_RSV1 = 0x40
_MASK = 0x80

_medium_head = Struct("!BBH").pack
_long_head = Struct("!BBQ").pack
_code = Struct("!H").pack

# "All control frames MUST have a payload length of 125 bytes or less"; a close frame's code takes two of them.
_REASON_BYTES = 123


class Opcode(IntEnum):
    """What a frame is. Three bits' worth of other values are reserved, and refused."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class FrameError(Exception):
    """The peer broke a rule of the WebSocket. Carries the code and the reason to close with."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def server_frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """Make one whole unmasked frame."""
    first = _FIN | _RSV1 | opcode if rsv1 else _FIN | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return _medium_head(first, 126, size) + payload
    return _long_head(first, 127, size) + payload


def client_frame(opcode: int, payload: bytes, mask: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Make one masked frame, whole or a fragment, as clients send it.

    Real clients must draw each mask from a strong source of randomness; here it is the caller's.
    """
    first = (_FIN if fin else 0) | (_RSV1 if rsv1 else 0) | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, _MASK | size))
    elif size < 65536:
        head = _medium_head(first, _MASK | 126, size)
    else:
        head = _long_head(first, _MASK | 127, size)
    return b"".join((head, mask, apply_mask(payload, mask)))


def close_payload(code: int, reason: str = "") -> bytes:
    """Make the payload of a close frame; a long reason is cut between characters."""
    text = reason.encode()
    if len(text) > _REASON_BYTES:
        text = text[:_REASON_BYTES].decode(errors="ignore").encode()
    return _code(code) + text
