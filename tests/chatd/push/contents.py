"""Messages and their contents as tests need them."""

from typing import Any

import msgspec

from chatd.push.content import Content, content_of
from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage

AT = 1_800_000_000_000
HOUR = 3_600_000


def message(data: object, *, channel: str = "dm:alice:bob", seq: int = 1, kind: str = "") -> StoredMessage:
    """Make a message of alice's."""
    return StoredMessage(
        channel=ChannelName(channel),
        epoch=Epoch("e"),
        seq=Seq(seq),
        sender=UserId("alice"),
        key=f"k{seq}",
        at=AT,
        body=Body(Encoding.JSON, msgspec.json.encode(data)),
        kind=kind,
    )


def content(data: object, *, by_backends: bool = False, **where: Any) -> Content:
    """Read a message's content with short bounds."""
    return content_of(
        message(data, **where), text_field="text", text_bytes=20, ttl_seconds=3600, by_backends=by_backends
    )
