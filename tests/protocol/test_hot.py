"""What is compiled does exactly what the Python beside it does, and no argument makes it crash."""

import os
import shutil
from datetime import UTC
from importlib import import_module
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import body, hot, plain
from protocol.body import Body, BodyError, Encoding, accept
from protocol.codec import JSON, MSGPACK, Codec
from protocol.frames import Opcode, client_frame, server_frame
from protocol.messages import Message, Sent
from protocol.names import ChannelName, Epoch, Seq, UserId

pytestmark = pytest.mark.skipif(
    not hot.COMPILED and not (os.environ.get("CI") and shutil.which("cc")),
    reason="not compiled: there was no C compiler, or no Python headers",
)

_compiled: Any = import_module("protocol._hot") if hot.COMPILED else None

TEXTS = st.text(max_size=200) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
_EDGES = [0, 9, 10, 99, 100, *(1 << bits for bits in (5, 7, 8, 15, 16, 31, 32)), 2**63 - 1]
EDGES = sorted({sign * edge + step for edge in _EDGES for sign in (1, -1) for step in (-1, 0, 1)} - {2**63})
"""Numbers around which one more digit or byte is needed."""
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(EDGES)
BODIES = st.binary(max_size=300) | st.sampled_from([b"{}", b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 70000])
PAYLOADS = st.binary(max_size=300) | st.text(max_size=300).map(str.encode) | st.sampled_from([b"", b"x" * 65536])


@given(TEXTS)
@example("a" * 128)
@example("a" * 129)
@example("")
@example("\x7f")
@example("a b")
def test_keys_are_told_apart_alike(text: str) -> None:
    assert _compiled.is_key(text) is plain.is_key(text)


@pytest.mark.parametrize("name", ["message_frame", "packed_message_frame"])
@given(TEXTS, TEXTS, NUMBERS, TEXTS, TEXTS, NUMBERS, BODIES)
@example("room:a", "e", 0, "alice", 'a"b', 0, b"{}")
@example("room:a", "e", 0, "alice", "a\\b", 0, b"{}")
@example("room:a", "e", -(2**63), "\x7f", "é", 2**63 - 1, b"{}")
@example("a" * 31, "a" * 32, 0, "a" * 255, "a" * 256, 0, b"{}")
@example("a" * 65535, "", 0, "", "", 0, b"")
@example("", "", 0, "", "a" * 65536, 0, b"")
def test_message_frames_are_the_same(
    name: str, channel: str, epoch: str, seq: int, sender: str, key: str, at: int, raw: bytes
) -> None:
    given_all = (channel, epoch, seq, sender, key, at, raw)
    assert getattr(_compiled, name)(*given_all) == getattr(plain, name)(*given_all)


@pytest.mark.parametrize("name", ["sent_frame", "packed_sent_frame"])
@given(NUMBERS, TEXTS, TEXTS, NUMBERS, NUMBERS)
@example(0, "a" * 65536, "", 0, 0)
def test_answers_are_the_same(name: str, command: int, channel: str, epoch: str, seq: int, at: int) -> None:
    given_all = (command, channel, epoch, seq, at)
    assert getattr(_compiled, name)(*given_all) == getattr(plain, name)(*given_all)


@pytest.mark.parametrize("number", EDGES)
def test_every_number_is_written_as_the_codec_writes_it(number: int) -> None:
    for module in (plain, _compiled):
        for name, codec in (("sent_frame", JSON), ("packed_sent_frame", MSGPACK)):
            frame = getattr(module, name)(number, "room:a", "e", 1, number)
            sent = Sent(id=number, channel="room:a", epoch=Epoch("e"), seq=Seq(1), at=number)
            assert frame == server_frame(codec.opcode, codec.encode(sent))


@pytest.mark.parametrize("size", [2, 10, 26, 27, 50, 150, 250, 251, 65_530, 65_531])
@pytest.mark.parametrize(("prefix", "codec"), [("", JSON), ("packed_", MSGPACK)], ids=["JSON", "MessagePack"])
def test_both_write_what_the_codec_writes(prefix: str, codec: Codec, size: int) -> None:
    channel, epoch, seq, raw = ChannelName("room:" + "a" * size), Epoch("e"), Seq(2), codec.encode({"a": 1})
    sent = Sent(id=7, channel=channel, epoch=epoch, seq=seq, at=3)
    message = Message(channel=channel, epoch=epoch, seq=seq, sender=UserId("bob"), key="k", at=3, data=msgspec.Raw(raw))
    for module in (plain, _compiled):
        answer = getattr(module, f"{prefix}sent_frame")(7, channel, epoch, 2, 3)
        assert answer == server_frame(codec.opcode, codec.encode(sent))
        event = getattr(module, f"{prefix}message_frame")(channel, epoch, 2, "bob", "k", 3, raw)
        assert event == server_frame(codec.opcode, codec.encode(message))


STREAMS = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CONTINUATION]),
        PAYLOADS,
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
)


@given(
    STREAMS, st.booleans(), st.booleans(), st.sampled_from([0, 100, 65536]), st.integers(0, 40), st.binary(max_size=9)
)
def test_streams_are_read_alike(
    stream: list[tuple[int, bytes, bool, bool]], masked: bool, compressed: bool, most: int, cut: int, rest: bytes
) -> None:
    data = b"".join(
        client_frame(opcode, payload, b"\x01\x82\x00\xff", fin=fin, rsv1=rsv1)
        if masked
        else server_frame(opcode, payload, rsv1)
        for opcode, payload, fin, rsv1 in stream
    )
    for piece in (data, data[: len(data) - cut], data + rest, data[cut:]):
        assert _read(_compiled, piece, most, masked, compressed) == _read(plain, piece, most, masked, compressed)


@given(st.binary(max_size=60), st.booleans(), st.booleans())
def test_garbage_is_read_alike(data: bytes, masked: bool, compressed: bool) -> None:
    for first in (b"", b"\x81", b"\x82\x7e", b"\xc1\xfe\x00"):
        piece = first + data
        assert _read(_compiled, piece, 100, masked, compressed) == _read(plain, piece, 100, masked, compressed)


def _read(module: Any, data: bytes, most: int, masked: bool, compressed: bool) -> tuple[int, list[tuple[int, bytes]]]:
    events: list[tuple[int, bytes]] = []
    return module.read_whole(data, 0, most, masked, compressed, events), events


# Bodies in MessagePack.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from(EDGES)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
ORDINARY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=30,
)
TIMES = st.datetimes(timezones=st.just(UTC))
UNUSUAL = TIMES | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=20))
KEYS = SCALARS | TIMES | st.lists(SCALARS, max_size=3).map(tuple)
ANY = st.recursive(
    SCALARS | UNUSUAL,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20),
    max_leaves=30,
)
RAW_MAPS = st.dictionaries(KEYS, ANY, max_size=20).map(msgspec.msgpack.encode)
HEADS = st.sampled_from([bytes((head,)) for head in range(0x80, 0x100)])
GARBAGE = st.lists(HEADS | st.binary(max_size=4), max_size=40).map(b"".join)


def _is_accepted(raw: bytes) -> bool:
    try:
        accept(Encoding.MSGPACK, raw)
    except BodyError:
        return False
    return True


def _check_look(raw: bytes) -> None:
    """Check that both see the same, and that what they see nothing unusual in is accepted by decoding it."""
    found = _compiled.is_plain_map(raw)
    assert found is plain.is_plain_map(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body, "COMPILED", False)
        decoded = _is_accepted(raw)
    assert _is_accepted(raw) is decoded
    assert decoded or not found


@given(st.dictionaries(st.text(max_size=40), ORDINARY, max_size=20))
def test_nothing_is_unusual_in_an_ordinary_body(value: dict[str, object]) -> None:
    raw = msgspec.msgpack.encode(value)
    assert _compiled.is_plain_map(raw)
    assert accept(Encoding.MSGPACK, raw) == Body(Encoding.MSGPACK, raw)


@given(RAW_MAPS, st.integers(0, 300), st.binary(max_size=4))
def test_bodies_are_looked_through_alike(raw: bytes, place: int, other: bytes) -> None:
    place %= len(raw)
    for changed in (raw, raw[:place], raw + other, raw[:place] + other + raw[place + len(other) :]):
        _check_look(changed)


@given(GARBAGE)
def test_garbage_is_looked_through_alike(garbage: bytes) -> None:
    for begun in (b"", b"\x81", b"\x81\xa1a", b"\xde\x00\x01\x01", b"\xdf\x00\x00\x00\x02\x00"):
        _check_look(begun + garbage)


@pytest.mark.parametrize("size", [0, 1, 2, 8, 40])
def test_every_byte_begins_the_same(size: int) -> None:
    rests = (b"\x00" * size, b"\x01" * size, b"\xff" * size, b"\x00\x01" + b"\xc3" * size)
    for head in range(256):
        for begun in (b"\x81\xa1a", b"\x81", b""):
            for rest in rests:
                _check_look(begun + bytes((head,)) + rest)


@pytest.mark.parametrize(
    ("heads", "items"),
    [
        pytest.param((b"\xc4\x03", b"\xc5\x00\x03", b"\xc6\x00\x00\x00\x03"), b"\xff" * 3, id="binary"),
        pytest.param((b"\xa3", b"\xd9\x03", b"\xda\x00\x03", b"\xdb\x00\x00\x00\x03"), b"abc", id="text"),
        pytest.param((b"\x93", b"\xdc\x00\x03", b"\xdd\x00\x00\x00\x03"), b"\x01" * 3, id="array"),
        pytest.param((b"\x83", b"\xde\x00\x03", b"\xdf\x00\x00\x00\x03"), b"\x01" * 6, id="map"),
    ],
)
def test_sizes_of_any_width_are_read(heads: tuple[bytes, ...], items: bytes) -> None:
    for head in heads:
        raw = b"\x81\xa1a" + head + items
        assert _compiled.is_plain_map(raw)
        for changed in (raw, raw[:-1], raw + b"\x01"):
            _check_look(changed)


@pytest.mark.parametrize("inner", [b"\x81\xa1a", b"\x91", b"\xdc\x00\x01", b"\x82\xa1b\x01\xa1a"])
def test_a_body_is_plain_to_the_limit_and_no_deeper(inner: bytes) -> None:
    for depth in (plain.MAX_DEPTH - 1, plain.MAX_DEPTH, plain.MAX_DEPTH + 1, 1000):
        raw = b"\x81\xa1a" + inner * (depth - 2) + b"\x80"
        assert _compiled.is_plain_map(raw) is (depth <= plain.MAX_DEPTH)
        _check_look(raw)
        _check_look(raw[:-1])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("is_key", (1,)),
        ("read_whole", (b"",)),
        ("read_whole", ("", 0, 1, True, False, [])),
        ("read_whole", (b"", "", 1, True, False, [])),
        ("read_whole", (b"", -1, 1, True, False, [])),
        ("read_whole", (b"", 0, 1, True, False, ())),
        ("is_plain_map", ("",)),
        *(
            (name, arguments)
            for name in ("message_frame", "packed_message_frame")
            for arguments in (
                ("", "", 1, "", "", 1),
                (b"", "", 1, "", "", 1, b""),
                ("", None, 1, "", "", 1, b""),
                ("", "", "", "", "", 1, b""),
                ("", "", 2**64, "", "", 1, b""),
                ("", "", 1, b"", "", 1, b""),
                ("", "", 1, "", None, 1, b""),
                ("é", "", 1, "", None, 1, b""),
                ("", "", 1, "", "", 1.5, b""),
                ("", "", 1, "", "", 1, ""),
            )
        ),
        *(
            (name, arguments)
            for name in ("sent_frame", "packed_sent_frame")
            for arguments in (
                (1, "", "", 1),
                (1, None, "", 1, 1),
                (1, "", 1, 1, 1),
                (1, "é", 1, 1, 1),
                (2**63, "", "", 1, 1),
                (1, "", "", 1.5, 1),
            )
        ),
    ],
)
def test_wrong_arguments_raise(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        getattr(_compiled, name)(*arguments)
