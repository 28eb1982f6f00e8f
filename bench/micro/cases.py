"""The parts that are measured: codec, frames, fan-out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import msgspec

from chatd.batch import Batch
from chatd.channel import Channel, send_out
from chatd.config import NAMESPACES
from chatd.event import frame
from chatd.session import Session
from protocol.body import Body, Encoding, accept
from protocol.codec import JSON, MSGPACK
from protocol.format import Format, Formats
from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame, server_frame
from protocol.messages import Sent
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage

_READERS = 1000
_BODY = b'{"text":"%s"}' % (b"x" * 189)  # 200 bytes
_COMMAND = b'{"type":"send","id":1,"channel":"room:bench","key":"0123456789abcdef","data":%s}' % _BODY
_LIMITS = FrameLimits(frame_bytes=65536, message_bytes=65536, fragments=64)
_MASK = b"\x01\x02\x03\x04"


@dataclass(frozen=True, slots=True)
class Case:
    """One part: a function that does its work `calls` times."""

    name: str
    function: Callable[[], object]
    calls: int = 1


class _Reader:
    """A session of which only the socket's `send` is left."""

    __slots__ = ("direct", "id", "send")

    def __init__(self, name: str) -> None:
        self.id = name
        self.send = len
        self.direct = None


def cases() -> list[Case]:
    """Return everything that is measured without a running trio."""
    json, msgpack = _formats()
    sent = Sent(id=1, channel="room:bench", epoch=Epoch("abcdefgh"), seq=Seq(1), at=1)
    packed = msgspec.msgpack.encode(msgspec.json.decode(_COMMAND))
    packed_body = msgspec.msgpack.encode(msgspec.json.decode(_BODY))
    one = client_frame(Opcode.TEXT, _COMMAND, _MASK)
    reader = FrameReader(_LIMITS)
    message = _message()
    return [
        Case("codec: decode a send, JSON", lambda: JSON.decode(_COMMAND)),
        Case("codec: decode a send, MessagePack", lambda: MSGPACK.decode(packed)),
        Case("body: accept 200 bytes, JSON", lambda: accept(Encoding.JSON, _BODY)),
        Case("body: accept the same, MessagePack", lambda: accept(Encoding.MSGPACK, packed_body)),
        Case("codec: encode an answer, JSON", lambda: JSON.encode(sent)),
        Case("codec: message to frame, JSON", lambda: frame(message, json)),
        Case("codec: message to frame, MessagePack", lambda: frame(message, msgpack)),
        Case("frame: write 200 bytes", lambda: server_frame(Opcode.TEXT, _BODY)),
        Case("frame: read one of 300 bytes", lambda: reader.feed(one)),
        Case("frame: read one of eight in a piece", lambda: reader.feed(one * 8), calls=8),
        _fan_out("fan-out: one delivery of one message", 1, json),
        _fan_out("fan-out: one delivery of eight joined", 8, json),
    ]


def _formats() -> tuple[Format, Format]:
    formats = Formats(deflate_level=6, deflate_min_bytes=128)
    return formats.get(JSON, 0), formats.get(MSGPACK, 0)


def _message() -> StoredMessage:
    return StoredMessage(
        channel=ChannelName("room:bench"),
        epoch=Epoch("abcdefgh"),
        seq=Seq(123456),
        sender=UserId("alice"),
        key="0123456789abcdef",
        at=1_700_000_000_000,
        body=Body(Encoding.JSON, _BODY),
    )


def _fan_out(name: str, messages: int, format_: Format) -> Case:
    channel = Channel(ChannelName("room:bench"), NAMESPACES["room"])
    readers = [cast(Session, _Reader(f"s{index}")) for index in range(_READERS)]
    events = [(_message(), "")] * messages
    batch = Batch()
    return Case(name, lambda: send_out(channel, list(events), format_, readers, batch), calls=_READERS * messages)
