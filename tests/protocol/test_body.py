"""Bodies: what is accepted, and that whatever was accepted can be given to readers of the other encoding."""

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.body import Body, BodyError, Encoding, accept, json_body
from protocol.plain import MAX_DEPTH


def to_json(raw: bytes) -> Any:
    """Accept MessagePack, turn it into JSON, and read that with another library."""
    return json.loads(accept(Encoding.MSGPACK, raw).as_encoding(Encoding.JSON))


def to_msgpack(raw: bytes) -> Any:
    """Accept JSON, turn it into MessagePack, and read that."""
    return msgspec.msgpack.decode(accept(Encoding.JSON, raw).as_encoding(Encoding.MSGPACK))


def packed(**values: object) -> bytes:
    """Encode an object as MessagePack."""
    return msgspec.msgpack.encode(values)


def valued(raw: bytes) -> bytes:
    """Encode the object {"a": raw} as MessagePack."""
    return b"\x81\xa1a" + raw


def keyed(raw: bytes) -> bytes:
    """Encode the object {raw: 1} as MessagePack."""
    return b"\x81" + raw + b"\x01"


# What is accepted.


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"null", b'"text"', b"\x80"])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BodyError):
        accept(Encoding.JSON, raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x90", id="array"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"\x81\xa1a", id="truncated"),
        pytest.param(b"\x80\x80", id="two objects"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(valued(b"\xc1"), id="the byte that is never used"),
        pytest.param(valued(b"\xa1\xff"), id="text that is not UTF-8"),
        pytest.param(valued(b"\xa3\xed\xa0\x80"), id="a surrogate"),
        pytest.param(keyed(b"\xa1\xff"), id="a key that is not UTF-8"),
        pytest.param(keyed(b"\x80"), id="a map as key"),
        pytest.param(keyed(b"\x91\x80"), id="a map in a key"),
        pytest.param(valued(b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62)), id="a timestamp after the year 9999"),
        pytest.param(valued(b"\xc7\x0c\xff" + struct.pack(">Iq", 2**32 - 1, 0)), id="too many nanoseconds"),
        pytest.param(valued(b"\xd4\xff\x00"), id="a timestamp of one byte"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map that claims to be huge"),
        pytest.param(valued(b"\xdd\xff\xff\xff\xff"), id="an array that claims to be huge"),
    ],
)
def test_malformed_messagepack_is_refused(raw: bytes) -> None:
    with pytest.raises(BodyError):
        accept(Encoding.MSGPACK, raw)


JSON_NESTS: dict[str, Callable[[int], bytes]] = {
    "objects": lambda depth: b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1),
    "arrays": lambda depth: b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}",
    "behind brackets in strings": lambda depth: (
        b'{"}]\\"}":"]}\\\\","a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    ),
    "behind siblings": lambda depth: (
        b'{"b":[[],{}],"a":' + b"[[],{}," * (depth - 2) + b"[]" + b"]" * (depth - 2) + b"}"
    ),
}
MSGPACK_NESTS: dict[str, Callable[[int], bytes]] = {
    "objects": lambda depth: b"\x81\xa1a" * (depth - 1) + b"\x80",
    "arrays": lambda depth: b"\x81\xa1a" + b"\x91" * (depth - 2) + b"\x90",
    "arrays in a key": lambda depth: b"\x81" + b"\x91" * (depth - 2) + b"\x90" + b"\x01",
}


@pytest.mark.parametrize("name", JSON_NESTS)
def test_json_is_nested_to_the_limit_and_no_deeper(name: str) -> None:
    nest = JSON_NESTS[name]
    to_msgpack(nest(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 900, 30_000):
        with pytest.raises(BodyError, match="nested"):
            accept(Encoding.JSON, nest(depth))


@pytest.mark.parametrize("name", MSGPACK_NESTS)
def test_messagepack_is_nested_to_the_limit_and_no_deeper(name: str) -> None:
    nest = MSGPACK_NESTS[name]
    to_json(nest(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 900, 30_000):
        with pytest.raises(BodyError, match="nested"):
            accept(Encoding.MSGPACK, nest(depth))


def test_many_brackets_side_by_side_or_in_strings_are_no_depth() -> None:
    to_msgpack(b'{"a":[' + b"[]," * 5000 + b"[]]}")
    to_msgpack(b'{"a":"' + b"[{" * 5000 + b'"}')
    to_msgpack(b'{"a":"' + b'\\"[\\\\' * 5000 + b'"}')


# What it becomes.


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(valued(b"\xc4\x02\x00\xff"), {"a": "AP8="}, id="binary"),
        pytest.param(valued(b"\xd4\x05\x01"), {"a": "AQ=="}, id="an extension"),
        pytest.param(valued(b"\xd6\xff\x00\x00\x00\x05"), {"a": "1970-01-01T00:00:05Z"}, id="a timestamp"),
        pytest.param(valued(b"\xcb" + struct.pack(">d", math.nan)), {"a": None}, id="NaN"),
        pytest.param(valued(b"\xca" + struct.pack(">f", -math.inf)), {"a": None}, id="an infinity"),
        pytest.param(valued(b"\xcf" + b"\xff" * 8), {"a": 2**64 - 1}, id="the greatest integer"),
        pytest.param(valued(b"\xd3\x80" + b"\x00" * 7), {"a": -(2**63)}, id="the least integer"),
        pytest.param(valued(b"\x92\xc4\x01a\x91\x81\x01\xc0"), {"a": ["YQ==", [{"1": None}]]}, id="inside"),
        pytest.param(keyed(b"\x05"), {"5": 1}, id="an integer as key"),
        pytest.param(keyed(b"\xcb" + struct.pack(">d", 1.5)), {"1.5": 1}, id="a float as key"),
        pytest.param(keyed(b"\xcb" + struct.pack(">d", math.nan)), {"null": 1}, id="NaN as key"),
        pytest.param(keyed(b"\xc0"), {"null": 1}, id="nil as key"),
        pytest.param(keyed(b"\xc3"), {"true": 1}, id="true as key"),
        pytest.param(keyed(b"\xc4\x02\x00\xff"), {"AP8=": 1}, id="binary as key"),
        pytest.param(keyed(b"\xd6\xff\x00\x00\x00\x05"), {"1970-01-01T00:00:05Z": 1}, id="a timestamp as key"),
        pytest.param(keyed(b"\x92\x01\xc4\x01a"), {'[1,"YQ=="]': 1}, id="an array as key"),
    ],
)
def test_messagepack_becomes_json_as_documented(raw: bytes, value: object) -> None:
    assert to_json(raw) == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a":-9223372036854775808}', {"a": -(2**63)}),
        (b'{"a":18446744073709551616}', {"a": 2.0**64}),
        (b'{"a":-9223372036854775809}', {"a": -(2.0**63)}),
        (b'{"a":[99999999999999999999,1,2.5]}', {"a": [1e20, 1, 2.5]}),
        (b'{"a":%s}' % (b"9" * 400), {"a": math.inf}),
        (b'{"a":-%s}' % (b"9" * 400), {"a": -math.inf}),
        (b'{"a":%s}' % (b"9" * 15_000), {"a": math.inf}),
        (b'{"a":1e999}', {"a": math.inf}),
        (b'{"a":"\\u0000\\ud83d\\ude00"}', {"a": "\x00\N{GRINNING FACE}"}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else "",
)
def test_json_becomes_messagepack_as_documented(raw: bytes, value: object) -> None:
    assert to_msgpack(raw) == value
    assert [type(item) for item in to_msgpack(raw).values()] == [type(item) for item in value.values()]  # type: ignore[attr-defined]


def test_the_own_encoding_is_the_same_bytes_untouched() -> None:
    raw = b'{ "a" : 1.50, "a":2}'
    assert accept(Encoding.JSON, raw).as_encoding(Encoding.JSON) is raw


def test_the_other_encoding_is_made_once() -> None:
    body = json_body({"a": 1})
    assert body.as_encoding(Encoding.MSGPACK) == packed(a=1)
    assert body.as_encoding(Encoding.MSGPACK) is body.as_encoding(Encoding.MSGPACK)


def test_bodies_are_equal_when_their_bytes_and_encodings_are() -> None:
    body = Body(Encoding.JSON, b"{}")
    assert body == Body(Encoding.JSON, b"{}")
    assert hash(body) == hash(Body(Encoding.JSON, b"{}"))
    assert body != Body(Encoding.MSGPACK, b"{}")
    assert body != Body(Encoding.JSON, b"{ }")
    assert body != b"{}"
    assert len(body) == 2


def test_a_body_does_not_show_what_is_in_it() -> None:
    assert "secret" not in repr(json_body({"a": "secret"}))


# Whatever was accepted.

json_texts = st.recursive(
    st.sampled_from(["null", "true", "false", "0", "-0", "1E+5", "-1.5e-400", "1e999", '"\\ud83d\\ude00\\u0000"'])
    | st.integers().map(str)
    | st.integers(min_value=1, max_value=5000).map(lambda digits: "-" + "7" * digits)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps)
    | st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: (
        st.lists(inner).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(st.text(max_size=3).map(json.dumps), inner)).map(
            lambda items: "{" + ",".join(f"{key} :{item}" for key, item in items) + "}"
        )
    ),
    max_leaves=20,
)


@given(json_texts)
@example("9" * 400)
@example("9" * 4301)
def test_json_that_is_accepted_becomes_messagepack_and_json_again(text: str) -> None:
    raw = f'{{"a":{text}}}'.encode()
    try:
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw])  # as the codec does before
    except msgspec.DecodeError:
        return
    there = accept(Encoding.JSON, raw).as_encoding(Encoding.MSGPACK)
    json.loads(accept(Encoding.MSGPACK, there).as_encoding(Encoding.JSON))


def _sized(small: int, large: bytes, length: int) -> bytes:
    return bytes([small | length]) if length < 16 else large + struct.pack(">I", length)


def _array(items: list[bytes]) -> bytes:
    return _sized(0x90, b"\xdd", len(items)) + b"".join(items)


def _map(items: list[tuple[bytes, bytes]]) -> bytes:
    return _sized(0x80, b"\xdf", len(items)) + b"".join(key + value for key, value in items)


def _extension(code: int, data: bytes) -> bytes:
    return b"\xc7" + struct.pack(">Bb", len(data), code) + data


messagepacks = st.recursive(
    st.sampled_from([b"\xc0", b"\xc2", b"\xc3", b"\xca\x7f\xc0\x00\x00", b"\xcb\x7f\xf0" + b"\x00" * 6])
    | st.integers(min_value=-(2**63), max_value=2**64 - 1).map(msgspec.msgpack.encode)
    | st.binary(min_size=8, max_size=8).map(b"\xcb".__add__)
    | st.binary(max_size=300).map(msgspec.msgpack.encode)
    | st.text(st.characters(exclude_categories=["Cs"])).map(msgspec.msgpack.encode)
    | st.builds(_extension, st.integers(min_value=-128, max_value=127), st.binary(max_size=20))
    | st.integers(min_value=-(2**39), max_value=2**39).map(
        lambda at: _extension(-1, struct.pack(">Iq", 999_999_999, at))
    )
    | st.binary(min_size=4, max_size=4).map(lambda at: b"\xd6\xff" + at)
    | st.binary(min_size=8, max_size=8).map(lambda at: b"\xd7\xff" + at),
    lambda inner: st.lists(inner, max_size=20).map(_array) | st.lists(st.tuples(inner, inner), max_size=20).map(_map),
    max_leaves=20,
)


@given(st.lists(st.tuples(messagepacks, messagepacks), max_size=3).map(_map) | messagepacks.map(valued))
def test_messagepack_that_is_accepted_becomes_json_and_messagepack_again(raw: bytes) -> None:
    try:
        body = accept(Encoding.MSGPACK, raw)
    except BodyError:
        return
    there = body.as_encoding(Encoding.JSON)
    assert isinstance(json.loads(there, parse_constant=pytest.fail), dict)
    accept(Encoding.JSON, there).as_encoding(Encoding.MSGPACK)


@given(st.binary(max_size=40), st.sampled_from(Encoding))
def test_garbage_is_refused_or_can_be_converted(raw: bytes, encoding: Encoding) -> None:
    try:
        body = accept(encoding, raw)
    except BodyError:
        return
    if encoding is Encoding.MSGPACK:
        json.loads(body.as_encoding(Encoding.JSON))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values))
def test_what_both_encodings_hold_comes_through_both_as_it_is(value: dict[str, object]) -> None:
    assert to_json(msgspec.msgpack.encode(value)) == value
    assert to_msgpack(msgspec.json.encode(value)) == value
