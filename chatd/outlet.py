"""What goes out to one connected device: answers and events, joined by turn, bounded when the socket takes no more.

Theory of operation. Nothing is written while a turn lasts: `send` is a slot that holds the one function that is right
at the moment, so that fan-out calls it without asking.

    direct   the link's own `send`: hand the bytes to the socket
    hold     this turn has an answer for the session already: join what else comes to it; the hub writes it
             all at once when the turn is over
    queue    the socket refused bytes: into the bounded outbox, until the socket takes them
    discard  the session is over

Beside it, `direct` is what a ring needs to send the same way (chatd/ring.py) while `send` is the link's own; else None.

A turn is one pass of trio's scheduler over all the sessions that had something to read.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog
import trio

from chatd.link import Link
from chatd.outbox import Outbox, OutboxFull
from protocol.codes import CloseCode, ErrorCode
from protocol.format import Format
from protocol.messages import Error, Event
from storage.records import StoredMessage

if TYPE_CHECKING:
    from chatd.hub import Hub

_log = structlog.get_logger("session")


class State(Enum):
    """Where a session is in its life; it goes on from each to any of those below it, but from CLOSED."""

    GREETING = auto()  # waits for `connect`
    READY = auto()  # serves commands
    CLOSING = auto()  # sent its close frame, waits for the other side's
    CLOSED = auto()  # gone


class Outlet(ABC):
    """The way out of a session, which derives from it. On the trio thread; only `make_room` waits."""

    __slots__ = (
        "_held",
        "_outbox",
        "_room",
        "direct",
        "early",
        "format",
        "hub",
        "id",
        "link",
        "send",
        "stalled_since",
        "state",
    )

    def __init__(self, session_id: str, link: Link, format_: Format, hub: "Hub") -> None:
        self.id = session_id
        self.link = link
        self.format = format_
        self.hub = hub
        self.state = State.GREETING
        self.stalled_since: float | None = None
        self.early: list[StoredMessage] | None = None  # of member channels, while `connect` resumes cursors
        self.send: Callable[[bytes], int] = link.send
        self.direct: bytes | None = link.ring_head
        self._held: list[bytes] | None = None
        self._outbox: Outbox | None = None
        self._room: trio.Event | None = None  # what the session's own task waits for until its answers were read

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self.state in (State.GREETING, State.READY)

    @property
    def outbox_bytes(self) -> int:
        """How many bytes wait for the socket."""
        return self._outbox.size if self._outbox is not None else 0

    async def make_room(self) -> None:
        """Let the client read its answers before it gets more of them, so that it cannot ask for more than it takes.

        If it takes nothing for `websocket.stall_seconds`, the keepalive ends the session.
        """
        limit = self.hub.settings.limits.outbox_bytes
        if self._held is not None and sum(map(len, self._held)) > limit:
            self.flush()
        while self.outbox_bytes > limit and self.is_open:
            self._room = trio.Event()
            await self._room.wait()

    # What there is to say.

    def reply(self, *events: Event) -> None:
        """Send events at the end of this turn, joined with whatever else the turn has for this session."""
        frame = self.format.frame
        self.reply_frames(frame(events[0]) if len(events) == 1 else b"".join([frame(event) for event in events]))

    def reply_frames(self, frames: bytes) -> None:
        """Send the frames of answers at the end of this turn, joined with whatever else the turn has for it."""
        if self.state is not State.CLOSING:  # nothing follows a close frame (RFC 6455 section 5.5.1)
            self._say(frames)

    def reply_error(self, command_id: int, code: ErrorCode, reason: str, retry_after: float | None = None) -> None:
        """Refuse a command."""
        self.hub.counters.errors[code] += 1
        _log.debug("command refused", session=self.id, code=int(code), reason=reason)
        self.reply(Error(id=command_id, code=code, reason=reason, retry_after=retry_after))

    def write(self, frame: bytes) -> None:
        """Send a frame that nobody here asked for at the end of this turn; too many of them cut the session off."""
        if self._outbox is None and self.early is None:
            if self._held is not None:
                self._held.append(frame)  # as `_say` would: one call less for who answers and delivers in one turn
            else:
                self._say(frame)
        else:
            self.send(frame)

    def _say(self, frames: bytes) -> None:
        """Send answers and the like at the end of this turn, however much waits: `make_room` bounds them."""
        if self._held is not None:
            self._held.append(frames)
        elif self._outbox is not None:
            self._outbox.add(frames)
        elif self.state is not State.CLOSED:
            self._held = [frames]
            self.send = self._hold
            self.direct = None
            self.hub.hold(self)

    # While cursors are resumed.

    def begin_resume(self) -> list[StoredMessage]:
        """Hold back everything until `end_resume`; return the list in which member channels' messages gather."""
        self.early = []
        self._held = []
        self.send = self._hold_early
        self.direct = None
        return self.early

    def keep_early(self, message: StoredMessage) -> None:
        """Keep a member channel's message that came while cursors are resumed."""
        if self.early is not None:
            self.early.append(message)
            self._check_early(len(self.early))

    def end_resume(self, first: list[Event]) -> None:
        """Send these events, then what was held back, and go on as usual."""
        self.early = None
        if self._held is None:
            return  # the session was lost meanwhile
        self.send = self._hold
        self._held[:0] = [self.format.frame(event) for event in first]
        self.hub.hold(self)

    def _check_early(self, count: int) -> None:
        """Bound what gathers while cursors are resumed."""
        if count > self.hub.settings.limits.recover_messages:
            self.hub.counters.drops["slow"] += 1
            self.close(CloseCode.SLOW, "too much came while the cursors were resumed: come back with them")

    # The end of a turn, and a socket that takes no more.

    def flush(self) -> None:
        """Write what this turn held back. Called by the hub when the turn is over."""
        data = self.release()
        if data:
            send_to(self, data)

    def release(self) -> bytes:
        """Hold back nothing from now on; return what was held, which the caller sends."""
        held = self._held
        if held is None or self.early is not None:
            return b""  # while cursors are resumed, the turns go by
        self._held = None
        if self._outbox is None:
            self.send = self.link.send
            self.direct = self.link.ring_head
        else:
            self.send = self._queue
        data = held[0] if len(held) == 1 else b"".join(held)
        self.hub.counters.bytes_out += len(data)
        return data

    def start_queue(self, data: bytes, sent: int) -> None:
        """Keep what the socket refused, and everything from now on, until the socket takes it."""
        self._outbox = Outbox(self.hub.settings.limits.outbox_bytes, data[sent:])
        self.send = self._queue
        self.direct = None
        self.link.on_writable = self._drain
        self.hub.slow_sessions.add(self)
        # The socket may have become writable since; then its edge came before anybody listened for it.
        self._drain()

    def queue_newest(self, data: bytes, topic: str) -> None:
        """Queue an event that makes a waiting one of the same topic worthless. Only while bytes wait."""
        if self._outbox is None:
            self.send(data)
            return
        try:
            if self._outbox.put_newest(data, topic):
                self.hub.counters.drops["conflated"] += 1
        except OutboxFull:
            self._cut_off()

    def _drain(self) -> None:
        """Send what waits, as far as the socket takes it. Called by the poller when it is writable again."""
        outbox = self._outbox
        if outbox is None:
            return
        send = self.link.send
        try:
            while data := outbox.peek():
                outbox.sent(send(data))
                self.stalled_since = None
        except BlockingIOError:
            if outbox.size <= self.hub.settings.limits.outbox_bytes:
                self._let_go_on()
            return
        except OSError:
            self.lose()
            return
        self._outbox = None
        self.stalled_since = None
        if self._held is None:
            self.send = self.link.send
            self.direct = self.link.ring_head
        self.link.quiet()
        self.hub.slow_sessions.discard(self)
        self._let_go_on()

    def _cut_off(self) -> None:
        """The outbox is full: throw away what waits and say goodbye behind the frame that is half sent."""
        self.hub.counters.drops["slow"] += 1
        if self._outbox is not None and self.state is not State.CLOSING:
            self._outbox.clear()
            self.close(CloseCode.SLOW, "too slow: come back with your cursors")
        elif self.state is State.CLOSING:
            self.lose()

    def _let_go_on(self) -> None:
        """Wake the session's own task if it waits for room."""
        if self._room is not None:
            self._room.set()
            self._room = None

    # What `send` is at the moment.

    def _hold(self, data: bytes) -> int:
        if self._held is not None:
            self._held.append(data)
        return len(data)

    def _hold_early(self, data: bytes) -> int:
        if self._held is not None:
            self._held.append(data)
            self._check_early(len(self._held))
        return len(data)

    def _queue(self, data: bytes) -> int:
        if self._outbox is not None:
            try:
                self._outbox.put(data)
            except OutboxFull:
                self._cut_off()
        return len(data)

    def _discard(self, data: bytes) -> int:
        return len(data)

    # The session's own.

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """Begin to close: nothing is sent after the close frame."""

    @abstractmethod
    def lose(self) -> None:
        """End at once."""


def send_to_all(data: bytes, sessions: Iterable[Outlet]) -> None:
    """Hand bytes to sessions, each by whatever its `send` is now; never raises. One iteration is one delivery."""
    size = len(data)
    for session in sessions:
        try:
            sent = session.send(data)
        except BlockingIOError:
            session.start_queue(data, 0)
        except OSError:
            session.lose()
        else:
            if sent != size:
                session.start_queue(data, sent)


def send_to(session: Outlet, data: bytes) -> None:
    """Hand bytes to one session."""
    send_to_all(data, (session,))
