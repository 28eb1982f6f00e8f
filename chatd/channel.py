"""A subscribed channel on this node: who reads it, and what waits for the end of the turn.

An event is encoded once for each format in use, whatever the number of readers, and goes out in as many `send`s as
there are readers: what one turn brought a channel is one write for each of them.
"""

from collections import deque
from collections.abc import Sequence

from chatd.batch import Batch
from chatd.config import Namespace
from chatd.event import frame, message_frames
from chatd.outlet import send_to
from chatd.session import Session
from protocol.format import Format
from protocol.messages import Event
from protocol.names import ChannelName
from storage.records import StoredMessage

Outgoing = tuple[Event | StoredMessage, str]
"""An event, and the session that must not get it (empty: everybody gets it)."""


Slice = tuple[list[Outgoing], Format, list[Session]]
"""Events for some readers of one format."""


class Channel:
    """The readers of one channel, grouped by format, and its events of this turn."""

    __slots__ = ("name", "namespace", "pending", "readers", "size", "slices")

    def __init__(self, name: ChannelName, namespace: Namespace) -> None:
        self.name = name
        self.namespace = namespace
        self.readers: dict[Format, dict[Session, None]] = {}
        self.size = 0  # how many they are
        self.pending: list[Outgoing] = []
        self.slices: deque[Slice] = deque()  # of the turn that is being sent, while the hub pauses for others

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return bool(self.readers)

    def add(self, session: Session) -> None:
        """Let a session read from now on; what was pending must have been sent out before."""
        readers = self.readers.setdefault(session.format, {})
        if session not in readers:
            readers[session] = None
            self.size += 1

    def remove(self, session: Session) -> None:
        """Let a session read no more."""
        readers = self.readers.get(session.format)
        if readers is not None and session in readers:
            del readers[session]
            self.size -= 1
            if not readers:
                del self.readers[session.format]

    def take(self) -> list[Outgoing]:
        """Return the events of this turn, and begin the next. Of a conflated channel only the newest is left."""
        pending, self.pending = self.pending, []
        return pending[-1:] if self.namespace.conflate else pending

    def encode(self, events: list[Outgoing], messages: list[StoredMessage], format_: Format) -> list[bytes]:
        """Return the frame of each event; `messages` are those of them that are."""
        if len(messages) == len(events):
            return message_frames(messages, format_)
        return [frame(event, format_) for event, _ in events]


def messages_of(events: list[Outgoing]) -> list[StoredMessage]:
    """Return the events that are messages."""
    messages: list[StoredMessage] = []
    for event, _ in events:  # a comprehension would be one call more for the one message that there mostly is
        if type(event) is StoredMessage:
            messages.append(event)
    return messages


def without(frames: Sequence[bytes], events: Sequence[Outgoing], session: str) -> bytes:
    """Return the frames of the events that a session may get: not those it sent itself."""
    return b"".join([data for data, (_, origin) in zip(frames, events, strict=True) if origin != session])


def send_out(
    channel: Channel, events: list[Outgoing], format_: Format, readers: Sequence[Session], batch: Batch
) -> int:
    """Send events to readers of one format; return how many bytes that is for all of them together.

    Never waits; a reader that cannot take them queues them or is cut off.
    """
    frames = channel.encode(events, messages_of(events), format_)
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    if channel.namespace.conflate:
        [(_, origin)] = events  # `take` has left the newest one
        others = [reader for reader in readers if reader.id != origin] if origin else readers
        _send_newest(channel.name, data, others, batch)
        return len(data) * len(others)
    origins = {origin for _, origin in events if origin}
    if not origins:
        batch.send_same(data, readers)
        return len(data) * len(readers)
    others = [reader for reader in readers if reader.id not in origins]
    batch.send_same(data, others)
    sent = len(data) * len(others)
    for reader in readers:
        if reader.id in origins:
            own = without(frames, events, reader.id)
            if own:
                send_to(reader, own)
                sent += len(own)
    return sent


def _send_newest(topic: str, data: bytes, readers: Sequence[Session], batch: Batch) -> None:
    quick = [reader for reader in readers if not reader.outbox_bytes]
    for reader in readers:
        if reader.outbox_bytes:
            reader.queue_newest(data, topic)
    batch.send_same(data, quick)
