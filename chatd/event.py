"""From what is stored to what is said: messages with their bodies, memberships, and the frames of both."""

import msgspec

from protocol.body import Encoding
from protocol.format import Format
from protocol.messages import Conversation, Event, Message
from protocol.names import Epoch, Seq
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


def conversation(membership: Membership) -> Conversation:
    """Say where a member channel of a user stands; one in which nobody has written has no epoch and seq 0."""
    last = membership.last
    return Conversation(
        channel=membership.channel,
        role=membership.role,
        epoch=last.epoch if last is not None else Epoch(""),
        seq=last.seq if last is not None else Seq(0),
        at=max(last.at, membership.joined_at) if last is not None else membership.joined_at,
    )
