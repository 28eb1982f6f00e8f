"""The application's own object in a message: kept in the encoding it came in, turned into the other one when asked.

A body is never looked into. JSON and MessagePack do not hold quite the same values; where they differ, the way from
one to the other is fixed here, total (it cannot fail for a body that was accepted) and always the same:

    MessagePack → JSON   binary and extensions become base64 text, timestamps RFC 3339 text, NaN and infinities null;
                         keys that are no text become the text that JSON has for them
    JSON → MessagePack   integers beyond 64 bits become floats, numbers beyond the floats infinities
"""

import base64
import json
import math
import re
from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from itertools import accumulate, chain
from typing import Any

import msgspec

from protocol.hot import COMPILED, is_plain_map
from protocol.plain import MAX_DEPTH


class Encoding(IntEnum):
    """The two encodings of the wire. The numbers are stored: never change them."""

    JSON = 0
    MSGPACK = 1


class BodyError(ValueError):
    """The bytes are no object of this encoding that every reader could be given."""


# Keeps what opens (1) and closes (-1, as a signed byte) of a JSON text that has no strings any more.
_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"{[}]")))
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

_CONTAINERS = (dict, list, tuple)

# Every byte but those that begin a map or an array in MessagePack; inside of texts and numbers these mean nothing.
_NO_HEADS = bytes(sorted(set(range(256)) - {*range(0x80, 0xA0), *range(0xDC, 0xE0)}))
_LONGEST_INTEGER = len(str(2**64))

_decode_msgpack = msgspec.msgpack.Decoder().decode
_decode_json = msgspec.json.Decoder().decode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


class Body(msgspec.Struct, eq=False, gc=False):
    """One object in one encoding; the other encoding is made on first use and kept."""

    encoding: Encoding
    raw: bytes
    _other: bytes | None = None

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
    once, because its strings were not looked at; or only looked through, where that is compiled and nothing is unusual.

    Raises:
        BodyError: They are not.
    """
    if encoding is Encoding.JSON:
        if not raw.startswith(b"{"):
            raise BodyError("`data` must be an object")
        # Few bytes, or few brackets, cannot be nested deeply: nearly every body is done with here.
        if len(raw) > 2 * MAX_DEPTH and raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _json_depth(raw) > MAX_DEPTH:
            raise _too_deep()
        return Body(encoding, raw)
    if COMPILED and is_plain_map(raw):
        return Body(encoding, raw)
    try:
        value = _decode_msgpack(raw)
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise BodyError(f"`data` is not well formed: {error}") from error
    if not isinstance(value, dict):
        raise BodyError("`data` must be an object")
    # Few bytes that can begin a container cannot be nested deeply: text in ASCII has none of them.
    if len(raw) > MAX_DEPTH and len(raw.translate(None, _NO_HEADS)) > MAX_DEPTH and not _is_shallow(value):
        raise _too_deep()
    return Body(encoding, raw)


def _too_deep() -> BodyError:
    return BodyError(f"`data` may be nested {MAX_DEPTH} levels deep")


def _json_depth(raw: bytes) -> int:
    """Return how deeply well-formed JSON is nested, without recursion."""
    steps = _STRING.sub(b"", raw).translate(_STEPS, delete=_NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")))


def _is_shallow(value: dict[object, object]) -> bool:
    """Tell whether an object is nested no more than `MAX_DEPTH` levels deep, without recursion."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for container in level for item in _items(container) if type(item) in _CONTAINERS]
        if not level:
            return True
    return False


def _items(container: Any) -> Iterable[object]:
    # Arrays may be keys too; they come as tuples.
    return chain(container, container.values()) if isinstance(container, dict) else container


def _to_json(raw: bytes) -> bytes:
    return _encode_json(_jsonable(_decode_msgpack(raw)))


def _to_msgpack(raw: bytes) -> bytes:
    try:
        return _encode_msgpack(_decode_json(raw))
    except (msgspec.DecodeError, OverflowError, ValueError):
        return _encode_msgpack(json.loads(raw, parse_int=_packable_integer))


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
        case datetime():
            return _encode_json(value)[1:-1].decode()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _json_key(key: object) -> str:
    if isinstance(key, str):
        return key
    value = _jsonable(key)
    return value if isinstance(value, str) else _encode_json(value).decode()


def _packable_integer(text: str) -> int | float:
    # Of a text that is longer, Python may refuse to make an integer; a float it always makes.
    if len(text) <= _LONGEST_INTEGER and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return float(text)
