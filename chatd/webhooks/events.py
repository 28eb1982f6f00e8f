"""What webhooks tell: one struct for the `data` of each type of event, and how an event is written.

docs/reference/webhooks.md is the same page in prose, with an example of each.
"""

from datetime import UTC, datetime

import msgspec

from chatd.config import EventType
from protocol.body import Encoding
from protocol.codes import CloseCode
from storage.records import StoredMessage


class SessionConnected(msgspec.Struct, frozen=True, kw_only=True):
    """A session's `connect` was answered."""

    user: str
    device: str
    session: str
    address: str
    guest: bool
    attributes: dict[str, str]


class SessionDisconnected(msgspec.Struct, frozen=True, kw_only=True):
    """A session ended. `code` is the close code, None for a connection that broke."""

    user: str
    device: str
    session: str
    code: int | None
    reason: str
    attributes: dict[str, str]


class UserOffline(msgspec.Struct, frozen=True, kw_only=True):
    """A user's last session ended, and none came back in the grace time. The reason is that session's."""

    user: str
    last_seen: int
    session: str
    code: int | None
    reason: str


class MessagePublished(msgspec.Struct, frozen=True, kw_only=True):
    """A message got its place in a channel, and is as durable as its namespace promises."""

    channel: str
    epoch: str
    seq: int
    sender: str = msgspec.field(name="from")
    key: str
    at: int
    kind: str
    data: msgspec.Raw


class ChannelOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A subscribed channel has its first reader on this node."""

    channel: str


class ChannelEmptied(msgspec.Struct, frozen=True, kw_only=True):
    """A subscribed channel's last reader on this node left."""

    channel: str


class Moderation(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody was removed from a channel, suspended, or had a device revoked. `by` is empty where nobody is known."""

    user: str
    by: str = ""
    channel: str | None = None
    device: str | None = None
    reason: str = ""


class DeliveryFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A push was given up: nobody was reached this way."""

    user: str
    device: str
    provider: str
    channel: str
    seq: int
    reason: str


Data = (
    SessionConnected
    | SessionDisconnected
    | UserOffline
    | MessagePublished
    | ChannelOpened
    | ChannelEmptied
    | Moderation
    | DeliveryFailed
)


class Happened(msgspec.Struct, frozen=True, gc=False):
    """One event, before it is known who wants it.

    `subject` is the user or channel that it is about: events of one subject are told in the order of their happening.
    `namespace` is that of the channel, if there is one. A message is written out only when it goes into the queue.
    """

    event_id: str
    type: EventType
    at: int
    subject: str
    data: Data | StoredMessage
    namespace: str = ""


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is sent."""

    id: str
    type: str
    timestamp: str
    data: Data


_encode = msgspec.json.Encoder().encode


def write(event: Happened) -> bytes:
    """Return the JSON of an event."""
    data = event.data
    if isinstance(data, StoredMessage):
        data = _published(data)
    return _encode(_Written(id=event.event_id, type=event.type, timestamp=iso_time(event.at), data=data))


def write_batch(events: list[bytes], at: int) -> bytes:
    """Return the body of a request with several events; `at` is when they were put together."""
    start = f'{{"type":"batch","timestamp":"{iso_time(at)}","data":{{"events":['.encode()
    return start + b",".join(events) + b"]}}"


def iso_time(unix_ms: int) -> str:
    """Write a time as ISO 8601 says, in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reason_of(code: int | None) -> str:
    """Return the word for why a session ended: the close code's name, `closed` for a client's own, `lost` without."""
    if code is None:
        return "lost"
    return CloseCode(code).name.lower() if code in CloseCode._value2member_map_ else "closed"


def message_id(message: StoredMessage) -> str:
    """Return the id of a message's event: the same on whichever node it is made."""
    return f"msg/{message.channel}/{message.epoch}/{message.seq}"


def _published(message: StoredMessage) -> MessagePublished:
    return MessagePublished(
        channel=message.channel,
        epoch=message.epoch,
        seq=message.seq,
        sender=message.sender,
        key=message.key,
        at=message.at,
        kind=message.kind,
        data=msgspec.Raw(message.body.as_encoding(Encoding.JSON)),
    )
