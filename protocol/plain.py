"""The functions that every message passes, in Python. `protocol._hot` has the same in C; `protocol.hot` chooses.

They know no state and call nobody. A test feeds both with the same and holds the results equal.
"""

import re
from codecs import utf_8_decode

from protocol.writer import Opcode, apply_mask, server_frame

RSV1 = 0x40
"""The bit of a frame's first byte that says it is compressed (RFC 7692 section 6)."""

_WHOLE_TEXT = 0x80 | Opcode.TEXT
_WHOLE_BINARY = 0x80 | Opcode.BINARY

_key = re.compile(r"[!-~]{1,128}").fullmatch
_needs_escape = re.compile(r"[^ !#-\[\]-~\x7f]").search  # in JSON, or in ASCII


def is_key(text: str) -> bool:
    """Tell whether a text can be a sender's key of a message."""
    return _key(text) is not None


def read_whole(data: bytes, at: int, most: int, masked: bool, compressed: bool, events: list[tuple[int, bytes]]) -> int:
    """Read the frames from here on that are whole, unfragmented data; return where another one begins.

    Each adds (opcode, payload) to `events`; a text's payload is UTF-8. If frames may be compressed, one that is has
    `RSV1` in its opcode, and its payload as it came. A payload has up to `most` bytes. What is wrong with the frame
    where this stops, if anything is, somebody else finds out.
    """
    end = len(data)
    flag, head = (128, 6) if masked else (0, 2)
    compression = RSV1 if compressed else 0
    while end - at > 3:
        first = data[at]
        kind = first & ~compression
        if kind != _WHOLE_TEXT and kind != _WHOLE_BINARY:
            break
        size = data[at + 1] - flag
        start = at + head
        if size == 126:
            size = data[at + 2] << 8 | data[at + 3]
            start += 2
        elif size > 126:
            break
        stop = start + size
        if stop > end or not 0 <= size <= most:
            break
        payload = apply_mask(data[start:stop], data[start - 4 : start]) if masked else data[start:stop]
        if first == _WHOLE_TEXT and not payload.isascii():
            try:
                utf_8_decode(payload, "strict", True)
            except UnicodeDecodeError:
                break
        events.append((first & 0x4F, payload))
        at = stop
    return at


def message_text(start: bytes, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
    """Write a message's event in JSON, behind all that comes before its seq; None where a name needs escaping."""
    if _needs_escape(sender) or _needs_escape(key):
        return None
    return b'%b%d,"from":"%b","key":"%b","at":%d,"data":%b}' % (start, seq, sender.encode(), key.encode(), at, body)


def message_frame(start: bytes, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
    """Make the whole frame of `message_text`."""
    text = message_text(start, seq, sender, key, at, body)
    return None if text is None else server_frame(Opcode.TEXT, text)


def sent_frame(command: int, channel: str, epoch: str, seq: int, at: int) -> bytes | None:
    """Make the whole frame of the answer to a `send`, in JSON; None where a name needs escaping."""
    if _needs_escape(channel) or _needs_escape(epoch):
        return None
    text = f'{{"type":"sent","id":{command},"channel":"{channel}","epoch":"{epoch}","seq":{seq},"at":{at}}}'
    return server_frame(Opcode.TEXT, text.encode())
