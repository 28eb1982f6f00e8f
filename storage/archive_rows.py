"""Records as they are in an archive: MessagePack arrays of their fields, always encoded alike, to be hashed.

The fields are those of the record in `storage.records`, in that order; the archive's first frame has their names. Keys
of maps are sorted. A message's body is an array of the number of its encoding and the bytes.
"""

from collections.abc import Sequence
from typing import Any, get_type_hints

import msgspec

from protocol.body import Body, Encoding
from storage.moving import RECORDS, Table

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

FIELDS = {table: kind.__struct_fields__ for table, kind in RECORDS.items()}
_BODY = FIELDS[Table.MESSAGES].index("body")


def encode_records(table: Table, records: Sequence[msgspec.Struct]) -> list[bytes]:
    """Encode records, each by itself."""
    if table is not Table.MESSAGES:
        return [_encode(msgspec.structs.astuple(record)) for record in records]
    encoded = []
    for record in records:
        values: list[Any] = list(msgspec.structs.astuple(record))
        values[_BODY] = (int(values[_BODY].encoding), values[_BODY].raw)
        encoded.append(_encode(values))
    return encoded


def join(encoded: Sequence[bytes]) -> bytes:
    """Make one array of encoded records."""
    count = len(encoded).to_bytes(4, "big")
    return b"".join((b"\xdd", count, *encoded))  # array 32, whatever the length: one encoding only


def split(joined: bytes | memoryview) -> list[msgspec.Raw]:
    """Return the encoded records of one array.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return _split(joined)


def decode_records(table: Table, encoded: Sequence[bytes | msgspec.Raw]) -> list[msgspec.Struct]:
    """Make records of what `encode_records` made of them.

    Raises:
        msgspec.MsgspecError: One of them is none of this table's.
    """
    decode, kind, fields = _DECODERS[table].decode, RECORDS[table], FIELDS[table]
    records = []
    for each in encoded:
        values = list(decode(each))
        if table is Table.MESSAGES:
            encoding, raw = values[_BODY]
            values[_BODY] = Body(encoding, raw)
        records.append(kind(**dict(zip(fields, values, strict=True))))
    return records


def _decoder(table: Table) -> msgspec.msgpack.Decoder[tuple[Any, ...]]:
    hints = get_type_hints(RECORDS[table])
    kinds = [tuple[Encoding, bytes] if hints[field] is Body else hints[field] for field in FIELDS[table]]
    return msgspec.msgpack.Decoder(tuple[tuple(kinds)])  # type: ignore[misc]


_DECODERS = {table: _decoder(table) for table in Table}
