"""From what is stored to what is said: messages with their bodies, memberships, and the frames of both."""

import msgspec

from protocol.body import Encoding
from protocol.codec import JSON
from protocol.format import Format
from protocol.messages import Conversation, Event, Message
from protocol.names import ChannelName, Epoch, Seq
from storage.records import Membership, StoredMessage


def message_event(stored: StoredMessage, encoding: Encoding) -> Message:
    """Make the event of a message, with its body in the encoding of the wire."""
    return Message(
        channel=stored.channel,
        epoch=stored.epoch,
        seq=stored.seq,
        sender=stored.sender,
        key=stored.key,
        at=stored.at,
        data=msgspec.Raw(stored.body.as_encoding(encoding)),
        kind=stored.kind,
    )


def frame(event: Event | StoredMessage, format_: Format) -> bytes:
    """Return the whole frame of an event or a message in a format."""
    if isinstance(event, StoredMessage):
        return format_.frame(message_event(event, format_.codec.encoding))
    return format_.frame(event)


class MessageFrames:
    """Makes the frames of one channel's messages. In JSON what they all begin with is made once.

    Names, ids and epochs are ASCII that JSON need not escape (protocol/names.py), and a body is JSON already, so a
    message is put together from its parts, byte for byte as the codec would: half the cost. A test holds the two equal.
    """

    __slots__ = ("_channel", "_epoch", "_start")

    def __init__(self, channel: ChannelName) -> None:
        self._channel = channel
        self._epoch: Epoch | None = None
        self._start = b""

    def frame(self, message: StoredMessage, format_: Format) -> bytes:
        """Return the whole frame of a message in a format."""
        key, body = message.key, message.body
        if format_.codec is not JSON or message.kind or '"' in key or "\\" in key:
            return format_.frame(message_event(message, format_.codec.encoding))
        if message.epoch != self._epoch:
            self._epoch = message.epoch
            start = f'{{"type":"message","channel":"{self._channel}","epoch":"{message.epoch}","seq":'
            self._start = start.encode()
        return format_.frame_bytes(
            b'%b%d,"from":"%b","key":"%b","at":%d,"data":%b}'
            % (
                self._start,
                message.seq,
                message.sender.encode(),
                key.encode(),
                message.at,
                body.as_encoding(Encoding.JSON),
            )
        )


def conversation(membership: Membership, read: int) -> Conversation:
    """Say where a member channel of a user stands; one in which nobody has written has no epoch and seq 0.

    `read` is up to where the user has read it.
    """
    last = membership.last
    return Conversation(
        channel=membership.channel,
        role=membership.role,
        epoch=last.epoch if last is not None else Epoch(""),
        seq=last.seq if last is not None else Seq(0),
        at=membership.at,
        read=read,
    )
