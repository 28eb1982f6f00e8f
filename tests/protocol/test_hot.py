"""What is compiled does exactly what the Python beside it does, and no argument makes it crash."""

import os
import shutil
from importlib import import_module
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import hot, plain
from protocol.codec import JSON
from protocol.frames import Opcode, client_frame, server_frame
from protocol.messages import Sent
from protocol.names import Epoch, Seq

pytestmark = pytest.mark.skipif(
    not hot.COMPILED and not (os.environ.get("CI") and shutil.which("cc")),
    reason="not compiled: there was no C compiler, or no Python headers",
)

_compiled: Any = import_module("protocol._hot") if hot.COMPILED else None

TEXTS = st.text(max_size=200) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
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


@given(BODIES, NUMBERS, TEXTS, TEXTS, NUMBERS, BODIES)
@example(b"{", 0, "alice", 'a"b', 0, b"{}")
@example(b"{", 0, "alice", "a\\b", 0, b"{}")
@example(b"{", -(2**63), "\x7f", "é", 2**63 - 1, b"{}")
def test_message_frames_are_the_same(start: bytes, seq: int, sender: str, key: str, at: int, body: bytes) -> None:
    given_all = (start, seq, sender, key, at, body)
    assert _compiled.message_frame(*given_all) == plain.message_frame(*given_all)


@given(NUMBERS, TEXTS, TEXTS, NUMBERS, NUMBERS)
def test_answers_are_the_same(command: int, channel: str, epoch: str, seq: int, at: int) -> None:
    given_all = (command, channel, epoch, seq, at)
    assert _compiled.sent_frame(*given_all) == plain.sent_frame(*given_all)


@pytest.mark.parametrize("size", [2, 50, 150, 70_000])
def test_both_write_what_the_codec_writes(size: int) -> None:
    sent = Sent(id=7, channel="room:" + "a" * size, epoch=Epoch("e"), seq=Seq(2), at=3)
    frame = server_frame(Opcode.TEXT, JSON.encode(sent))
    for module in (plain, _compiled):
        assert module.sent_frame(sent.id, sent.channel, sent.epoch, sent.seq, sent.at) == frame


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


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("is_key", (1,)),
        ("read_whole", (b"",)),
        ("read_whole", ("", 0, 1, True, False, [])),
        ("read_whole", (b"", "", 1, True, False, [])),
        ("read_whole", (b"", -1, 1, True, False, [])),
        ("read_whole", (b"", 0, 1, True, False, ())),
        ("message_frame", (b"", 1, "", "", 1)),
        ("message_frame", ("", 1, "", "", 1, b"")),
        ("message_frame", (b"", "", "", "", 1, b"")),
        ("message_frame", (b"", 2**64, "", "", 1, b"")),
        ("message_frame", (b"", 1, b"", "", 1, b"")),
        ("message_frame", (b"", 1, "", None, 1, b"")),
        ("message_frame", (b"", 1, "", "", 1, "")),
        ("sent_frame", (1, "", "", 1)),
        ("sent_frame", (1, None, "", 1, 1)),
        ("sent_frame", (1, "", 1, 1, 1)),
        ("sent_frame", (1, "", "", 1.5, 1)),
    ],
)
def test_wrong_arguments_raise(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        getattr(_compiled, name)(*arguments)
