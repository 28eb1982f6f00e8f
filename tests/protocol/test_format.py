"""Formats: one frame for all sessions that are alike."""

import zlib

import msgspec
import pytest

from protocol.codec import CODECS, JSON, MSGPACK, Codec
from protocol.format import Formats
from protocol.frames import Opcode
from protocol.messages import Ok, Unsubscribed
from protocol.names import ChannelName

LONG = Unsubscribed(channel=ChannelName("room:a"), code=1, reason="again and " * 50)


@pytest.fixture
def formats() -> Formats:
    """Formats as a node has them."""
    return Formats(deflate_level=6, deflate_min_bytes=100)


def test_sessions_that_are_alike_share_one_format(formats: Formats) -> None:
    assert formats.get(JSON, 0) is formats.get(JSON, 0)
    assert formats.get(JSON, 15) is formats.get(JSON, 15)
    pairs = [(codec, bits) for codec in CODECS.values() for bits in (0, *range(9, 16))]
    assert len({id(formats.get(codec, bits)) for codec, bits in pairs}) == len(pairs)


@pytest.mark.parametrize(("codec", "opcode"), [(JSON, Opcode.TEXT), (MSGPACK, Opcode.BINARY)])
def test_a_frame_is_whole_unmasked_and_of_the_codecs_kind(formats: Formats, codec: Codec, opcode: Opcode) -> None:
    frame = formats.get(codec, 0).frame(Ok(id=1))
    assert frame[:2] == bytes([0x80 | opcode, len(frame) - 2])
    assert frame[2:] == codec.encode(Ok(id=1))


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_a_compressed_frame_can_be_inflated_by_itself(formats: Formats, window_bits: int) -> None:
    frame = formats.get(JSON, window_bits).frame(LONG)
    assert frame[0] == 0x80 | 0x40 | Opcode.TEXT
    inflated = zlib.decompressobj(-window_bits).decompress(frame[2:] + b"\x00\x00\xff\xff")
    assert msgspec.json.decode(inflated, type=Unsubscribed) == LONG


def test_short_events_are_not_compressed(formats: Formats) -> None:
    assert formats.get(JSON, 15).frame(Ok(id=1)) == formats.get(JSON, 0).frame(Ok(id=1))
