"""This node's sessions, by user and by subscribed channel; takes events out to them, one turn at a time.

Theory of operation. Whoever has something for a channel or a session says so with `deliver` or `Session.write`, and
goes on; nothing is sent yet. A turn is one pass of trio's scheduler over all tasks that can run. When it is over,
before trio looks for events again, what the turn brought is sent: a channel's events as one write to each reader, a
session's own answers as one write. So ten publishers and their acks cost a reader one write, and no task is woken for
it. A channel with very many readers is sent by the hub's own task, in slices, so that others get their turn.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog
import trio
from trio.lowlevel import Abort, Task

from chatd.accounts.principal import Principal
from chatd.backend.caller import Caller
from chatd.batch import Batch
from chatd.channel import Channel, Outgoing, messages_of, send_out, without
from chatd.config import Namespace
from chatd.counters import Counters, HubStatistics
from chatd.event import frame
from chatd.limits import TokenBucket
from chatd.outlet import Outlet, State
from chatd.ring import open_ring
from chatd.session import Session
from chatd.settings import Settings
from protocol.codes import CloseCode
from protocol.format import Format
from protocol.hot import COMPILED
from protocol.messages import Event
from protocol.names import ChannelName, DeviceId, UserId
from storage.records import StoredMessage

# A channel with more readers than this is sent to after the answers of the turn.
_CROWD = 32

_log = structlog.get_logger("hub")


class User:
    """One user with sessions on this node."""

    __slots__ = ("bucket", "name", "sessions")

    def __init__(self, name: UserId, bucket: TokenBucket) -> None:
        self.name = name
        self.bucket = bucket  # of the messages that all of the user's sessions send
        self.sessions: list[Session] = []


class Observer(Protocol):
    """Wants to know who comes and goes: presence. Every method returns at once."""

    def session_opened(self, user: UserId, session_id: str) -> None:
        """A user opened a session."""

    def session_closed(self, user: UserId, session_id: str) -> None:
        """A user's session ended."""

    def channel_entered(self, channel: ChannelName, user: UserId) -> None:
        """A session of the user began to read a channel."""

    def channel_left(self, channel: ChannelName, user: UserId) -> None:
        """A session of the user stopped reading a channel."""


class TurnEnd(trio.abc.Instrument):
    """Tells a hub that the turn is over: trio has run every task that could run, and looks for events next."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def before_io_wait(self, timeout: float) -> None:
        """Send what the turn brought. Called by trio between any two turns."""
        self._hub.end_turn()


class Hub:
    """Holds every session of this node. All methods but `run` and `wait_empty` return at once."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.counters = counters
        self.observer: Observer | None = None
        self.on_used: list[Callable[[ChannelName, bool], None]] = []
        """Called when a channel gets its first reader here (True), and when it loses its last one (False)."""
        self.sessions: dict[str, Session] = {}
        self.users: dict[UserId, User] = {}
        self.backends: dict[Session, None] = {}  # server sessions
        self.channels: dict[ChannelName, Channel] = {}
        self.slow_sessions: set[Outlet] = set()
        self.closing_sessions: dict[Session, float] = {}  # by when their close frame must be answered
        self.monotonic = monotonic  # seconds, for rates; a fifth of the cost of asking trio
        self._clock = clock  # Unix seconds
        self._held: list[Outlet] = []
        self._dirty: list[Channel] = []
        self._large: deque[Channel] = deque()
        self._task: Task | None = None
        self._turn_end = TurnEnd(self)
        self._batch = Batch()
        self._slice = settings.config.broker.fanout_slice
        self._subscriptions = 0
        # What this turn answered and delivered, and since when (monotonic, Unix milliseconds) the first of each waited.
        self._answered = 0
        self._asked_at = 0.0
        self._delivered = 0
        self._sent_at = 0
        self._emptied: trio.Event | None = None

    # Sessions.

    def open(self, session: Session) -> None:
        """Take in a connection whose handshake is done; nobody is known to be there yet."""
        self.sessions[session.id] = session

    def welcome(self, session: Session, principal: Principal) -> None:
        """Say who the session belongs to. Pushes out the user's oldest session when there are too many."""
        session.principal = principal
        session.expires_at = principal.expires_at
        session.state = State.READY
        user = self.users.get(principal.user)
        limits = self.settings.limits
        if user is None:
            bucket = TokenBucket(limits.messages_per_second, limits.messages_burst)
            user = self.users[principal.user] = User(principal.user, bucket)
        session.user = user
        user.sessions.append(session)
        self.counters.sessions_opened += 1
        if self.observer is not None:
            self.observer.session_opened(user.name, session.id)
        if len(user.sessions) > limits.sessions_per_user:
            user.sessions[0].close(CloseCode.REPLACED, "the user opened too many newer sessions")

    def welcome_backend(self, session: Session, caller: Caller) -> None:
        """Say which backend the session belongs to. It is nobody's presence and counts for no user."""
        session.caller = caller
        session.state = State.READY
        self.backends[session] = None
        self.counters.sessions_opened += 1

    def leave(self, session: Session) -> None:
        """Take a session out of its channels and its user: it gets no more events."""
        if session.subscriptions:
            for channel in list(session.subscriptions.values()):
                self.unsubscribe(session, channel.name)
        user = session.user
        if user is None:
            if session in self.backends:
                del self.backends[session]
                self.counters.sessions_closed += 1
            return
        session.user = None
        user.sessions.remove(session)
        if not user.sessions:
            del self.users[user.name]
        self.counters.sessions_closed += 1
        if self.observer is not None:
            self.observer.session_closed(user.name, session.id)

    def close(self, session: Session) -> None:
        """Forget a session whose connection is gone."""
        session.lose()
        self.closing_sessions.pop(session, None)
        self.sessions.pop(session.id, None)
        if self._emptied is not None and not self.sessions:
            self._emptied.set()

    async def wait_empty(self) -> None:
        """Return when there is no session."""
        while self.sessions:
            if self._emptied is None or self._emptied.is_set():
                self._emptied = trio.Event()
            await self._emptied.wait()

    def closing(self, session: Session) -> None:
        """Give the other side of a session some time to answer the close frame."""
        self.closing_sessions[session] = trio.current_time() + self.settings.config.websocket.close_seconds

    def revoke(self, device: DeviceId) -> None:
        """Close every session of a device, at once. Looks at every session: revoking is rare."""
        for session in list(self.sessions.values()):
            if session.principal is not None and session.principal.device == device:
                session.close(CloseCode.REVOKED, "this device was logged out")

    # Channels.

    def subscribe(self, session: Session, name: ChannelName, namespace: Namespace) -> None:
        """Let a session read a channel from the next event on, unless it was closed while the channel was read."""
        if not session.is_open:
            return
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name, namespace)
        if channel.pending or channel.slices:
            self._send_now(channel)  # it belongs to those who were here before
        is_first = not channel
        channel.add(session)
        if session.subscriptions is None:
            session.subscriptions = {}
        session.subscriptions[name] = channel
        self._subscriptions += 1
        if is_first:
            for tell in self.on_used:
                tell(name, True)
        if self.observer is not None and session.user is not None and namespace.presence != "none":
            self.observer.channel_entered(name, session.user.name)

    def unsubscribe(self, session: Session, name: ChannelName) -> bool:
        """Let a session read a channel no more; tell whether it did."""
        channel = session.subscriptions.pop(name, None) if session.subscriptions else None
        if channel is None:
            return False
        channel.remove(session)
        self._subscriptions -= 1
        if not channel and not channel.pending:
            self.channels.pop(name, None)
        if not channel:
            for tell in self.on_used:
                tell(name, False)
        if self.observer is not None and session.user is not None and channel.namespace.presence != "none":
            self.observer.channel_left(name, session.user.name)
        return True

    def deliver(self, name: ChannelName, event: Event | StoredMessage, origin: str = "") -> None:
        """Send an event to the readers of a subscribed channel when the turn is over."""
        pending = self.outgoing(name)
        if pending is not None:
            pending.append((event, origin))

    def outgoing(self, name: ChannelName) -> list[Outgoing] | None:
        """Return the list of what a channel's readers get when the turn is over, to append to; None without readers."""
        channel = self.channels.get(name)
        if channel is None:
            return None
        if not channel.pending:
            if channel.size <= self._slice:
                self._dirty.append(channel)
            else:
                self._large.append(channel)
                self._wake()
        return channel.pending

    def deliver_to(self, users: Iterable[UserId], event: Event | StoredMessage, origin: str = "") -> None:
        """Send an event to every session of some users when the turn is over."""
        frames: dict[Format, bytes] = {}
        delivered = 0
        for name in users:
            user = self.users.get(name)
            if user is None:
                continue
            for session in tuple(user.sessions):  # one that is cut off for being slow leaves the list
                if session.id == origin:
                    continue
                if session.early is not None and isinstance(event, StoredMessage):
                    session.keep_early(event)
                    continue
                data = frames.get(session.format)
                if data is None:
                    data = frames[session.format] = frame(event, session.format)
                session.write(data)
                delivered += 1
        if isinstance(event, StoredMessage):
            self.counters.messages_out += delivered
            self.counters.delivery.observe(max(0.0, self._clock() - event.at / 1000))

    # The turn.

    def hold(self, session: Outlet) -> None:
        """Write what the session holds when the turn is over."""
        self._held.append(session)

    async def run(self) -> None:
        """Send out what each turn brings, until cancelled."""
        trio.lowlevel.add_instrument(self._turn_end)
        if self.settings.config.server.io_uring:
            self._batch.ring = open_ring()
            _log.info("io_uring", used=self._batch.ring is not None)
        _log.info("compiled", used=COMPILED)
        try:
            while True:
                while self._large:
                    channel = self._large.popleft()
                    try:
                        await self._send_large(channel)
                    except Exception:
                        _log.exception("channel failed", channel=channel.name)
                await self._sleep()
        finally:
            trio.lowlevel.remove_instrument(self._turn_end)
            self._batch.close()

    def end_turn(self) -> None:
        """Send what the turn brought. What fails in one channel or session stays there.

        Small channels come first, so that a sender's answer and its own event are one write; then answers, which
        should not wait until a crowd has got the message; then the crowds.
        """
        while self._dirty or self._held:
            dirty, self._dirty = self._dirty, []
            crowds = [channel for channel in dirty if channel.size > _CROWD]
            for channel in dirty:
                if channel.size <= _CROWD:
                    try:
                        self._write(channel)
                    except Exception:
                        _log.exception("channel failed", channel=channel.name)
            held, self._held = self._held, []
            self._batch.flush(held)
            for channel in crowds:
                self._begin_safely(channel)
        self._count_turn()

    def _count_turn(self) -> None:
        """Count the times of a turn: it is as long as its first message waited; the others waited a little less."""
        if self._answered:
            self.counters.ack.observe(self.monotonic() - self._asked_at, self._answered)
            self._answered = 0
        if self._delivered:
            self.counters.delivery.observe(max(0.0, self._clock() - self._sent_at / 1000), self._delivered)
            self._delivered = 0

    def answered(self, asked_at: float, count: int) -> None:
        """Count so many answers, which go out when the turn is over, to what was read then (monotonic seconds)."""
        if not self._answered or asked_at < self._asked_at:
            self._asked_at = asked_at
        self._answered += count

    def _write(self, channel: Channel) -> None:
        """Let a channel's few readers write its turn with their own answers, one write for each of them."""
        if channel.namespace.conflate:
            self._begin(channel)
            return
        events, channel.pending = channel.pending, []
        messages = messages_of(events)
        total = channel.size
        origins = () if channel.namespace.echo else {origin for _, origin in events if origin}
        for format_, sessions in tuple(channel.readers.items()):
            frames = channel.encode(events, messages, format_)
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            for reader in tuple(sessions):  # one that is cut off for being slow leaves the channel
                if reader.id not in origins:
                    reader.write(data)
                elif own := without(frames, events, reader.id):
                    reader.write(own)
        self._count(messages, total)
        if not total:
            self._forget_if_empty(channel)

    def _begin_safely(self, channel: Channel) -> None:
        try:
            self._begin(channel)
        except Exception:
            _log.exception("channel failed", channel=channel.name)

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    async def _sleep(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> Abort:
            self._task = None
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _begin(self, channel: Channel) -> None:
        """Send a channel's turn to its readers, or cut it into slices when they are very many."""
        events = channel.take()
        if not events:
            return
        size = self._slice
        total = 0
        for format_, sessions in list(channel.readers.items()):
            readers = list(sessions)
            total += len(readers)
            if len(readers) <= size:
                self.counters.bytes_out += send_out(channel, events, format_, readers, self._batch)
            else:
                starts = range(0, len(readers), size)
                channel.slices.extend((events, format_, readers[start : start + size]) for start in starts)
        self._count(messages_of(events), total)
        if not total:
            self._forget_if_empty(channel)

    def _count(self, messages: list[StoredMessage], readers: int) -> None:
        if messages:
            self.counters.messages_out += len(messages) * readers
            at = messages[0].at
            if not self._delivered or at < self._sent_at:
                self._sent_at = at
            self._delivered += len(messages)

    async def _send_large(self, channel: Channel) -> None:
        """Send a large channel's turn, with pauses for other work.

        Who joins during a pause makes the rest go out at once (`subscribe`), so nobody gets a message twice or out
        of order; new messages wait for the next round.
        """
        self._begin(channel)
        self._count_turn()
        while channel.slices:
            self._send_slice(channel)
            if channel.slices:
                await trio.lowlevel.checkpoint()
        self._forget_if_empty(channel)

    def _send_slice(self, channel: Channel) -> None:
        events, format_, readers = channel.slices.popleft()
        # Who left or was closed during a pause gets nothing more: no frame may follow a close frame.
        here = channel.readers.get(format_, {})
        still = [reader for reader in readers if reader in here]
        self.counters.bytes_out += send_out(channel, events, format_, still, self._batch)

    def _send_now(self, channel: Channel) -> None:
        """Send what waits in a channel without a pause: somebody joins after it."""
        while channel.slices:
            self._send_slice(channel)
        self._begin(channel)
        while channel.slices:
            self._send_slice(channel)

    def _forget_if_empty(self, channel: Channel) -> None:
        if not channel and not channel.pending and self.channels.get(channel.name) is channel:
            del self.channels[channel.name]

    # What others may see.

    def statistics(self) -> HubStatistics:
        """Return what the hub holds now."""
        return HubStatistics(
            connections=len(self.sessions),
            sessions=sum(len(user.sessions) for user in self.users.values()) + len(self.backends),
            users=len(self.users),
            channels=len(self.channels),
            subscriptions=self._subscriptions,
            outbox_bytes=sum(session.outbox_bytes for session in self.slow_sessions),
            slow_sessions=len(self.slow_sessions),
        )
