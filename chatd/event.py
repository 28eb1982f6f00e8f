"""From what is stored to what is said: a message's frame in each format, made once."""

import msgspec

from protocol.body import Encoding
from protocol.format import Format
from protocol.messages import Event, Message
from storage.records import StoredMessage


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
