"""The header blocks of requests (HPACK, RFC 7541), for requests that are alike but for a few fields.

The encoder of the hpack library keeps every field in the table that both sides have, also those that come once, and
compresses all texts by Huffman codes: together half of the time of a request. Here fields that stay the same are put
into the table, as Apple asks for, and all others are written as they are. h2 takes this encoder in place of its own.
"""

from collections import OrderedDict
from collections.abc import Iterable

Field = tuple[bytes, bytes]

_TABLE_BYTES = 4096  # what every server starts with (RFC 9113 section 6.5.2); no need for more
_ENTRY_BYTES = 32  # "overhead" of an entry (RFC 7541 section 4.1)
_STATIC_ENTRIES = 61

# Of the static table (RFC 7541 appendix A), what pushes have: whole fields, and names.
_STATIC_FIELDS: dict[Field, int] = {(b":method", b"POST"): 3, (b":scheme", b"https"): 7}
_STATIC_NAMES = {
    b":authority": 1,
    b":path": 4,
    b"authorization": 23,
    b"content-encoding": 26,
    b"content-length": 28,
    b"content-type": 31,
}

# Fields that many requests of a connection have with the same value.
_STEADY = {
    *(b":authority", b"authorization", b"content-type", b"content-encoding", b"urgency"),
    *(b"apns-topic", b"apns-push-type", b"apns-priority"),
}


class HeaderEncoder:
    """Encodes header blocks of one connection, in the order in which they are sent. Names are in lower case."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Field, int] = OrderedDict()  # which entry it is, counted from the first one
        self._added = 0
        self._bytes = 0
        self._most_bytes = _TABLE_BYTES
        self._smallest: int | None = None  # the other side has been heard to want less since the last block

    @property
    def header_table_size(self) -> int:
        """How many bytes the table may have. The other side says it by its settings; more than 4,096 is not used."""
        return self._most_bytes

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        most = min(value, _TABLE_BYTES)
        if most != self._most_bytes:
            self._smallest = most if self._smallest is None else min(self._smallest, most)
            self._most_bytes = most
            self._evict(0)

    def encode(self, headers: Iterable[Field]) -> bytes:
        """Return the block of these fields."""
        block = self._size_updates()
        for field in headers:
            name, value = field
            static = _STATIC_FIELDS.get(field)
            if static is not None:
                block.append(0x80 | static)
            elif name in _STEADY and _size(field) <= self._most_bytes:
                self._write_steady(block, field)
            else:
                # Literal without indexing (RFC 7541 section 6.2.2).
                _write_literal(block, 0x00, 4, name, value)
        return bytes(block)

    def _write_steady(self, block: bytearray, field: Field) -> None:
        number = self._entries.get(field)
        if number is not None:
            # Indexed (RFC 7541 section 6.1): the newest entry is the first one behind the static table.
            _write_integer(block, 0x80, 7, _STATIC_ENTRIES + self._added - number)
            return
        # Literal with incremental indexing (RFC 7541 section 6.2.1).
        _write_literal(block, 0x40, 6, *field)
        self._evict(_size(field))
        self._entries[field] = self._added
        self._added += 1
        self._bytes += _size(field)

    def _evict(self, needed: int) -> None:
        """Make room for so many bytes, as the other side does: the oldest entries go (RFC 7541 section 4.4)."""
        while self._bytes + needed > self._most_bytes:
            field, _ = self._entries.popitem(last=False)
            self._bytes -= _size(field)

    def _size_updates(self) -> bytearray:
        """Return how a block begins after the size of the table has changed: by the smallest and the last size."""
        block = bytearray()
        if self._smallest is not None:
            for size in dict.fromkeys((self._smallest, self._most_bytes)):
                _write_integer(block, 0x20, 5, size)
            self._smallest = None
        return block


def _size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + _ENTRY_BYTES


def _write_literal(block: bytearray, kind: int, bits: int, name: bytes, value: bytes) -> None:
    index = _STATIC_NAMES.get(name, 0)
    _write_integer(block, kind, bits, index)
    if not index:
        _write_text(block, name)
    _write_text(block, value)


def _write_text(block: bytearray, text: bytes) -> None:
    _write_integer(block, 0x00, 7, len(text))
    block += text


def _write_integer(block: bytearray, kind: int, bits: int, value: int) -> None:
    """Write an integer that begins in the last bits of a byte (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        block.append(kind | value)
        return
    block.append(kind | most)
    value -= most
    while value >= 0x80:
        block.append(0x80 | value & 0x7F)
        value >>= 7
    block.append(value)
