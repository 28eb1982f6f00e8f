"""Compression: what is written is small, right and within the window; what is read is checked to its last bit."""

import zlib
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codes import CloseCode
from protocol.deflate import Deflate, inflate
from protocol.frames import FrameError, Opcode, server_frame

LIMIT = 1 << 20


def deflated(payload: bytes, *, bits: int = 15, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -bits)
    data = stream.compress(payload) + stream.flush(flush)
    return data[:-4] if flush == zlib.Z_SYNC_FLUSH else data


def payload_of(frame: bytes) -> bytes:
    size = frame[1]
    return frame[{126: 4, 127: 10}.get(size, 2) :]


def code_of(payload: bytes, max_bytes: int = LIMIT) -> int:
    with pytest.raises(FrameError) as caught:
        inflate(payload, max_bytes)
    return caught.value.code


def test_a_compressed_frame_has_rsv1_and_inflates_to_its_message() -> None:
    text = b"the same again " * 50
    frame = Deflate(15, 6, 128).frame(Opcode.TEXT, text)
    assert frame[0] == 0xC1
    assert len(frame) < len(text) / 5
    assert inflate(payload_of(frame), LIMIT) == text


def test_short_messages_and_those_that_do_not_get_smaller_stay_as_they_are() -> None:
    deflate = Deflate(15, 6, 128)
    noise = Random(1).randbytes(1000)
    assert deflate.frame(Opcode.TEXT, b"a" * 127) == server_frame(Opcode.TEXT, b"a" * 127)
    assert deflate.frame(Opcode.TEXT, b"a" * 128)[0] == 0xC1
    assert deflate.frame(Opcode.BINARY, noise) == server_frame(Opcode.BINARY, noise)
    assert Deflate(15, 6, 0).frame(Opcode.TEXT, b"") == server_frame(Opcode.TEXT, b"")


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("bits", range(8, 16))
def test_a_reader_with_the_agreed_window_can_read_it(bits: int, level: int) -> None:
    """Repeats at every distance around the window's size would go wrong if one were farther than it."""
    random = Random(bits)
    block = random.randbytes(40)
    distances = [*range(200, 300), *(1 << power for power in range(8, 16)), (1 << bits) - 262, (1 << bits) - 1]
    message = b"".join(block + random.randbytes(max(0, distance - len(block))) for distance in distances) + block
    message += b"".join(bytes((byte,)) * 20 for byte in message[:500])
    frame = Deflate(bits, level, 0).frame(Opcode.BINARY, message)
    assert frame[0] == 0xC2
    assert zlib.decompressobj(-bits).decompress(payload_of(frame) + b"\0\0\xff\xff") == message


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 40), st.integers(8, 15), st.sampled_from([1, 6, 9]))
def test_every_message_comes_back(seed: bytes, times: int, bits: int, level: int) -> None:
    message = seed * times
    frame = Deflate(bits, level, 0).frame(Opcode.BINARY, message)
    if frame[0] == 0xC2:
        assert zlib.decompressobj(-bits).decompress(payload_of(frame) + b"\0\0\xff\xff") == message
        assert inflate(payload_of(frame), LIMIT) == message
    else:
        assert frame == server_frame(Opcode.BINARY, message)


# The examples of RFC 7692 section 7.2.3: the same text in every form that a sender may give it.
FORMS = {
    "one block": bytes.fromhex("f248cdc9c90700"),
    "one block without compression": bytes.fromhex("000500faff48656c6c6f00"),
    "a final block and an empty one": bytes.fromhex("f348cdc9c9070000"),
    "a final block alone": bytes.fromhex("f348cdc9c90700"),
    "two blocks": bytes.fromhex("f248050000 00ffffcac9c90700"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_message_is_read(form: str) -> None:
    assert inflate(FORMS[form], LIMIT) == b"Hello"


def test_an_empty_message_is_an_empty_block() -> None:
    assert inflate(b"\0", LIMIT) == b""
    assert inflate(b"\1", LIMIT) == b""


def test_what_follows_a_final_block_may_refer_back_to_it() -> None:
    first = b"a text that comes again, and again"
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=first)
    second = (stream.compress(first) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(second) < 10
    assert inflate(deflated(first, flush=zlib.Z_FINISH) + second, LIMIT) == first * 2


def test_endless_final_blocks_are_refused() -> None:
    assert inflate(b"\x03\x00" * 100 + b"\0", LIMIT) == b""
    assert code_of(b"\x03\x00" * 100_000) == CloseCode.INVALID_DATA


@pytest.mark.parametrize("window", range(9, 16))
def test_a_client_may_use_any_window(window: int) -> None:
    message = Random(window).randbytes(5000) * 3
    assert inflate(deflated(message, bits=window), LIMIT) == message


@pytest.mark.parametrize(
    "broken", [b"", b"\x07", b"\xff\xff\xff\xff", b"Hello", deflated(b"x" * 9) + b"\xff", b"\0\5\0\xfa\xffHe"]
)
def test_what_is_no_deflate_data_is_refused(broken: bytes) -> None:
    assert code_of(broken) == CloseCode.INVALID_DATA


def test_a_message_cut_short_is_refused_wherever_it_is_cut() -> None:
    message = Random(7).randbytes(200) + b"and something with a pattern, a pattern" * 5
    whole = deflated(message)
    for end in range(len(whole)):
        assert code_of(whole[:end]) == CloseCode.INVALID_DATA


def test_no_more_than_the_limit_is_inflated() -> None:
    assert inflate(deflated(b"\0" * 1000), 1000) == b"\0" * 1000
    assert code_of(deflated(b"\0" * 1001), 1000) == CloseCode.TOO_BIG
    assert code_of(deflated(b"\0" * 100_000_000), 1000) == CloseCode.TOO_BIG
    assert code_of(deflated(b"\0" * 600, flush=zlib.Z_FINISH) * 2, 1000) == CloseCode.TOO_BIG


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_inflated_or_refused(garbage: bytes) -> None:
    data = b""
    with suppress(FrameError):
        data = inflate(garbage, 1000)
    assert len(data) <= 1000
