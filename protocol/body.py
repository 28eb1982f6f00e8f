"""The application's own object in a message: kept in the encoding it came in, turned into the other one when asked.

A body is never looked into. JSON and MessagePack do not hold quite the same values; where they differ, the way from
one to the other is fixed here, total (it cannot fail for a body that was accepted) and always the same:

    MessagePack → JSON   binary becomes base64 text, NaN and infinities become null, keys become text
    JSON → MessagePack   integers beyond 64 bits become floats
"""

import base64
import json
import math
from enum import IntEnum

import msgspec


class Encoding(IntEnum):
    """The two encodings of the wire. The numbers are stored: never change them."""

    JSON = 0
    MSGPACK = 1


class BodyError(ValueError):
    """The bytes are no object of this encoding that every reader could be given."""


_JSON_OBJECT = ord("{")
_decode_msgpack = msgspec.msgpack.Decoder().decode
_decode_json = msgspec.json.Decoder().decode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


class Body:
    """One object in one encoding; the other encoding is made on first use and kept."""

    __slots__ = ("_other", "encoding", "raw")

    def __init__(self, encoding: Encoding, raw: bytes) -> None:
        self.encoding = encoding
        self.raw = raw
        self._other: bytes | None = None

    def as_encoding(self, encoding: Encoding) -> bytes:
        """Return the object's bytes in this encoding."""
        if encoding is self.encoding:
            return self.raw
        if self._other is None:
            self._other = _to_msgpack(self.raw) if encoding is Encoding.MSGPACK else _to_json(self.raw)
        return self._other

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and (self.encoding, self.raw) == (other.encoding, other.raw)

    def __hash__(self) -> int:
        return hash((self.encoding, self.raw))

    def __repr__(self) -> str:
        return f"Body({self.encoding.name}, {len(self.raw)} bytes)"


def json_body(value: object) -> Body:
    """Make a body of chatd's own from a Python object."""
    return Body(Encoding.JSON, _encode_json(value))


def accept(encoding: Encoding, raw: bytes) -> Body:
    """Take the bytes of a client's `data`, if they are one object.

    JSON was parsed as part of its command already, and its UTF-8 checked by the WebSocket. MessagePack is decoded here
    once, because its strings were not looked at.

    Raises:
        BodyError: They are not.
    """
    if encoding is Encoding.JSON:
        if raw[:1] != b"{":
            raise BodyError("`data` must be an object")
        return Body(encoding, raw)
    try:
        value = _decode_msgpack(raw)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise BodyError(f"`data` is not well formed: {error}") from error
    if not isinstance(value, dict):
        raise BodyError("`data` must be an object")
    return Body(encoding, raw)


def _to_json(raw: bytes) -> bytes:
    return _encode_json(_jsonable(_decode_msgpack(raw)))


def _to_msgpack(raw: bytes) -> bytes:
    try:
        return _encode_msgpack(_decode_json(raw))
    except (msgspec.DecodeError, OverflowError, ValueError):
        return _encode_msgpack(_packable(json.loads(raw)))


def _jsonable(value: object) -> object:
    match value:
        case dict():
            return {_json_key(key): _jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [_jsonable(item) for item in value]
        case bytes():
            return base64.b64encode(value).decode()
        case msgspec.msgpack.Ext():
            return base64.b64encode(bytes(value.data)).decode()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _json_key(key: object) -> str:
    if isinstance(key, bytes):
        return base64.b64encode(key).decode()
    return key if isinstance(key, str) else str(key)


def _packable(value: object) -> object:
    match value:
        case dict():
            return {key: _packable(item) for key, item in value.items()}
        case list():
            return [_packable(item) for item in value]
        case int() if not -(2**63) <= value < 2**64:
            return float(value) if abs(value) < 2**1023 else math.copysign(math.inf, value)
        case _:
            return value
