"""The functions that every message passes, in Python. `protocol._hot` has the same in C; `protocol.hot` chooses.

They know no state and call nobody. A test feeds both with the same and holds the results equal.
"""

import re
from codecs import utf_8_decode
from enum import Enum, auto

from msgspec import Raw
from msgspec.msgpack import Encoder

from protocol.writer import Opcode, apply_mask, server_frame

RSV1 = 0x40
"""The bit of a frame's first byte that says it is compressed (RFC 7692 section 6)."""

_WHOLE_TEXT = 0x80 | Opcode.TEXT
_WHOLE_BINARY = 0x80 | Opcode.BINARY

MAX_DEPTH = 100
"""How many objects and arrays of a body may be inside each other.

The interpreter bounds recursion, and where it does depends on who calls: a body that could just be read in one place
could not be converted in another.
"""

_pack = Encoder().encode
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
            if size < 126:
                break
        elif size > 126:
            break
        stop = start + size
        if stop > end or not 0 <= size <= most:
            break
        payload = apply_mask(data[start:stop], data[start - 4 : start]) if masked else data[start:stop]
        if first == _WHOLE_TEXT and not payload.isascii() and not _is_text(payload):
            break
        events.append((first & 0x4F, payload))
        at = stop
    return at


def message_text(channel: str, epoch: str, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
    """Write a message's event in JSON; None where a name needs escaping."""
    if _needs_escape(f"{channel}{epoch}{sender}{key}"):
        return None
    before = (
        f'{{"type":"message","channel":"{channel}","epoch":"{epoch}","seq":{seq},'
        f'"from":"{sender}","key":"{key}","at":{at},"data":'
    )
    return before.encode() + body + b"}"


def message_frame(channel: str, epoch: str, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
    """Make the whole frame of `message_text`."""
    text = message_text(channel, epoch, seq, sender, key, at, body)
    return None if text is None else server_frame(Opcode.TEXT, text)


def sent_frame(command: int, channel: str, epoch: str, seq: int, at: int) -> bytes | None:
    """Make the whole frame of the answer to a `send`, in JSON; None where a name needs escaping."""
    if _needs_escape(f"{channel}{epoch}"):
        return None
    text = f'{{"type":"sent","id":{command},"channel":"{channel}","epoch":"{epoch}","seq":{seq},"at":{at}}}'
    return server_frame(Opcode.TEXT, text.encode())


def packed_message(channel: str, epoch: str, seq: int, sender: str, key: str, at: int, body: bytes) -> bytes | None:
    """Write a message's event in MessagePack; None where a name is not in ASCII."""
    if not f"{channel}{epoch}{sender}{key}".isascii():
        return None
    return _pack(
        {
            "type": "message",
            "channel": channel,
            "epoch": epoch,
            "seq": seq,
            "from": sender,
            "key": key,
            "at": at,
            "data": Raw(body),
        }
    )


def packed_message_frame(
    channel: str, epoch: str, seq: int, sender: str, key: str, at: int, body: bytes
) -> bytes | None:
    """Make the whole frame of `packed_message`."""
    packed = packed_message(channel, epoch, seq, sender, key, at, body)
    return None if packed is None else server_frame(Opcode.BINARY, packed)


def packed_sent_frame(command: int, channel: str, epoch: str, seq: int, at: int) -> bytes | None:
    """Make the whole frame of the answer to a `send`, in MessagePack; None where a name is not in ASCII."""
    if not f"{channel}{epoch}".isascii():
        return None
    answer = {"type": "sent", "id": command, "channel": channel, "epoch": epoch, "seq": seq, "at": at}
    return server_frame(Opcode.BINARY, _pack(answer))


class _Kind(Enum):
    """What a byte of MessagePack begins."""

    BYTES = auto()  # a number, binary and the like
    TEXT = auto()
    ARRAY = auto()
    MAP = auto()


# What each byte begins: so many bytes or items, or a size of so many bytes and then as many. Extensions are not here.
_HEADS = {
    0xC0: (_Kind.BYTES, 0, 0),  # nil, false, true
    0xC2: (_Kind.BYTES, 0, 0),
    0xC3: (_Kind.BYTES, 0, 0),
    0xC4: (_Kind.BYTES, 0, 1),
    0xC5: (_Kind.BYTES, 0, 2),
    0xC6: (_Kind.BYTES, 0, 4),
    0xCA: (_Kind.BYTES, 4, 0),  # floats
    0xCB: (_Kind.BYTES, 8, 0),
    **{0xCC + index: (_Kind.BYTES, 1 << (index & 3), 0) for index in range(8)},  # integers
    **{0xD9 + index: (_Kind.TEXT, 0, 1 << index) for index in range(3)},
    0xDC: (_Kind.ARRAY, 0, 2),
    0xDD: (_Kind.ARRAY, 0, 4),
    0xDE: (_Kind.MAP, 0, 2),
    0xDF: (_Kind.MAP, 0, 4),
    # The short ones have their size in them; the rest are numbers of one byte.
    **{0x80 | size: (_Kind.MAP, size, 0) for size in range(16)},
    **{0x90 | size: (_Kind.ARRAY, size, 0) for size in range(16)},
    **{0xA0 | size: (_Kind.TEXT, size, 0) for size in range(32)},
    **dict.fromkeys((*range(0x80), *range(0xE0, 0x100)), (_Kind.BYTES, 0, 0)),
}


def is_plain_map(raw: bytes) -> bool:
    """Tell whether bytes are one whole map in MessagePack in which nothing is unusual.

    Its texts are UTF-8, it is no deeper than `MAX_DEPTH`, no key is a map or an array, and there are no extensions.
    What is not plain may be good all the same: who decodes it knows. In Python that is quicker, too.
    """
    levels: list[tuple[_Kind, int]] = []  # how many items are still to come; in a map keys and values count
    at = 0
    while True:
        kind, size, width = _HEADS.get(raw[at], (None, 0, 0)) if at < len(raw) else (None, 0, 0)
        at += 1 + width
        if kind is None or at > len(raw):
            return False
        if width:
            size = int.from_bytes(raw[at - width : at])
        is_key = False
        if levels:
            around, left = levels[-1]
            is_key = around is _Kind.MAP and left % 2 == 0
            levels[-1] = around, left - 1
        elif kind is not _Kind.MAP:
            return False
        if kind is _Kind.ARRAY or kind is _Kind.MAP:
            if is_key or len(levels) == MAX_DEPTH:
                return False
            levels.append((kind, 2 * size if kind is _Kind.MAP else size))
        else:
            at += size
            if at > len(raw) or (kind is _Kind.TEXT and not _is_text(raw[at - size : at])):
                return False
        while levels and not levels[-1][1]:
            levels.pop()
        if not levels:
            return at == len(raw)


def _is_text(raw: bytes) -> bool:
    try:
        utf_8_decode(raw, "strict", True)
    except UnicodeDecodeError:
        return False
    return True
