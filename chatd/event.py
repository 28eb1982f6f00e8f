"""From what is stored to what is said: messages with their bodies, memberships, and the frames of both."""

from collections.abc import Iterable, Sequence

import msgspec

from protocol.body import Encoding
from protocol.format import Format
from protocol.messages import Conversation, Event, Message, Send, Sent
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


def sent_frames(commands: Sequence[Send], placed: Sequence[tuple[StoredMessage, object]], format_: Format) -> bytes:
    """Return the frames of the answers to the first of the commands, whose messages these are, in their order."""
    by_hand = format_.sent
    frames = []
    for command, (message, _) in zip(commands, placed, strict=False):
        channel, epoch, seq, at = message.channel, message.epoch, message.seq, message.at
        frame = None if by_hand is None else by_hand(command.id, channel, epoch, seq, at)
        if frame is None:
            frame = format_.frame(Sent(id=command.id, channel=channel, epoch=epoch, seq=seq, at=at))
        frames.append(frame)
    return frames[0] if len(frames) == 1 else b"".join(frames)


def message_frames(messages: Iterable[StoredMessage], format_: Format) -> list[bytes]:
    """Return the whole frame of each message in a format.

    Names, ids and epochs are ASCII that JSON need not escape (protocol/names.py), and a body is encoded already,
    so a message is put together from its parts, byte for byte as the codec would: half the cost. A test holds the two
    equal.
    """
    encoding = format_.codec.encoding
    by_hand = format_.message
    frames = []
    for message in messages:
        made = None
        if not message.kind:
            body = message.body
            raw = body.raw if body.encoding is encoding else body.as_encoding(encoding)
            made = by_hand(message.channel, message.epoch, message.seq, message.sender, message.key, message.at, raw)
        frames.append(format_.frame(message_event(message, encoding)) if made is None else made)
    return frames


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
