"""What stands in Redis for a message, and the way from one to the other."""

from functools import lru_cache

import msgspec

from chatd.broker import EXPIRED_KIND, Draft, Route
from protocol.body import Body, Encoding, json_body
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage


class _Content(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All of a message but its channel and its place."""

    sender: UserId
    key: str
    kind: str
    encoding: int
    body: bytes
    origin: str


HIDE = b"-"
"""What begins a message of pub/sub that says, instead of a record, which place is to be read no more."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode

_REMEMBERED_EPOCHS = 1024

_ENCODINGS = tuple(Encoding)
NOBODY = Route("", ())


def content_of(draft: Draft) -> bytes:
    """Return a draft as the part of a record that the sender's node knows."""
    body = draft.body
    return _encode(_Content(draft.sender, draft.key, draft.kind, body.encoding, body.raw, draft.origin))


def read_content(channel: ChannelName, place: tuple[Epoch, Seq, int], content: bytes) -> tuple[StoredMessage, Route]:
    """Return a message and its route, from its content and its place."""
    read = _decode(content)
    message = StoredMessage(
        channel=channel,
        epoch=place[0],
        seq=place[1],
        sender=read.sender,
        key=read.key,
        at=place[2],
        body=Body(_ENCODINGS[read.encoding], read.body),
        kind=read.kind,
    )
    return message, Route(read.origin, ()) if read.origin else NOBODY


def read_record(channel: ChannelName, record: bytes) -> tuple[StoredMessage, Route]:
    """Return a message and its route, from "EPOCH-SEQ AT CONTENT"."""
    stands, at, content = record.split(b" ", 2)
    return read_content(channel, (*read_id(stands), int(at)), content)


def read_id(text: bytes) -> tuple[Epoch, Seq]:
    """Return the epoch and the seq of "EPOCH-SEQ"."""
    epoch, _, seq = text.partition(b"-")
    return _epoch(epoch), Seq(int(seq))


@lru_cache(_REMEMBERED_EPOCHS)
def _epoch(text: bytes) -> Epoch:
    """Return the text of an epoch; few are in use at a time, and all messages share them."""
    return Epoch(text.decode())


def record_of(message: StoredMessage, origin: str) -> bytes:
    """Return a message that has its place as a whole record."""
    body = message.body
    content = _encode(_Content(message.sender, message.key, message.kind, body.encoding, body.raw, origin))
    return b"%b-%d %d %b" % (message.epoch.encode(), message.seq, message.at, content)


def hide_content(content: bytes) -> bytes:
    """Return the content of a message whose time is over: nothing of what it said."""
    read = _decode(content)
    body = json_body({})
    return _encode(_Content(read.sender, read.key, EXPIRED_KIND, body.encoding, body.raw, ""))


def hidden_place(payload: bytes) -> tuple[Epoch, Seq]:
    """Return the place that a message of pub/sub says is to be read no more; it begins with HIDE."""
    return read_id(payload[len(HIDE) :])
