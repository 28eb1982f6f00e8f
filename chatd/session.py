"""One connected device: reads, runs what it asks for, and sends what it gets.

Theory of operation. One task owns a session: it reads, and runs every command that one read brought. While it waits
the poller has the session serve what needs no waiting (`_serve`): most messages wake no task. Nothing is written
meanwhile: `send` is a slot that holds the one function that is right at the moment, so that fan-out calls it
without asking.

    direct   the link's own `send`: hand the bytes to the socket
    hold     this turn has an answer for the session already: join what else comes to it; the hub writes it
             all at once when the turn is over
    queue    the socket refused bytes: into the bounded outbox, until the socket takes them
    discard  the session is over

Beside it, `direct` is what a ring needs to send the same way (chatd/ring.py) while `send` is the link's own; else None.

A turn is one pass of trio's scheduler over all the sessions that had something to read.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog
import trio
from msgspec import DecodeError

from chatd.accounts.principal import Principal
from chatd.limits import TokenBucket
from chatd.link import Link
from chatd.outbox import Outbox, OutboxFull
from protocol.codec import BadCommand, CodecError
from protocol.codes import CloseCode, ErrorCode
from protocol.format import Format
from protocol.frames import FrameReader, Opcode, close_payload, server_frame
from protocol.messages import Error, Event, Send
from protocol.names import ChannelName
from storage.records import StoredMessage

if TYPE_CHECKING:
    from chatd.backend.caller import Caller
    from chatd.channel import Channel
    from chatd.drafting import Permit
    from chatd.handlers import Handlers
    from chatd.hub import Hub, User

_log = structlog.get_logger("session")


class State(Enum):
    """Where a session is in its life."""

    GREETING = auto()  # waits for `connect`
    READY = auto()  # serves commands
    CLOSING = auto()  # sent its close frame, waits for the other side's
    CLOSED = auto()  # gone


TRANSITIONS = {
    State.GREETING: {State.READY, State.CLOSING, State.CLOSED},
    State.READY: {State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set[State](),
}

PING_FRAME = server_frame(Opcode.PING, b"")


SendAtOnce = Callable[["Session", Sequence[Send], float, bool], int]
"""Publishes and answers messages up to the first that a task has to wait for; returns how many those are.

The last argument says whether they are one that came alone: only then its answer may come later, by `under_way`."""


class Session:
    """One live connection of one device. Made by the listener after the handshake; ends when `run` returns."""

    __slots__ = (
        "_failure",
        "_fed",
        "_format_opcode",
        "_held",
        "_outbox",
        "_reader",
        "_room",
        "_send_at_once",
        "_settled",
        "attributes",
        "bucket",
        "caller",
        "close_code",
        "direct",
        "early",
        "expires_at",
        "format",
        "heard",
        "hub",
        "id",
        "link",
        "messages_in",
        "permit",
        "principal",
        "refused",
        "send",
        "stalled_since",
        "state",
        "subscriptions",
        "under_way",
        "user",
    )

    def __init__(self, session_id: str, link: Link, format_: Format, reader: FrameReader, hub: "Hub") -> None:
        self.id = session_id
        self.link = link
        self.format = format_
        self.hub = hub
        self.state = State.GREETING
        self.principal: Principal | None = None
        self.attributes: dict[str, str] | None = None  # what a backend said of it when it was let in
        self.user: User | None = None
        self.caller: Caller | None = None  # of a server session: the backend's key, in the place of a principal
        self.expires_at: int | None = None
        self.subscriptions: dict[ChannelName, Channel] | None = None
        self.bucket: TokenBucket | None = None
        self.permit: Permit | None = None  # to write where it wrote last, if members have no say in it
        self.refused = 0
        self.messages_in = 0
        self.heard = True  # anything was read since the keepalive last looked
        self.stalled_since: float | None = None
        self.close_code: int | None = None
        self.early: list[StoredMessage] | None = None  # of member channels, while `connect` resumes cursors
        self.under_way = False  # a message is being placed, which no task waits for; nothing else is served meanwhile
        self.send: Callable[[bytes], int] = link.send
        self.direct: bytes | None = link.ring_head
        self._held: list[bytes] | None = None
        self._outbox: Outbox | None = None
        self._room: trio.Event | None = None  # what the session's own task waits for until its answers were read
        self._reader = reader
        self._fed: list[tuple[int, bytes]] | None = None  # what `_serve` took from the reader and left to the task
        self._failure: Exception | None = None  # what went wrong there
        self._settled: trio.Event | None = None  # what the session's own task waits for while a message is under way
        self._send_at_once: SendAtOnce
        self._format_opcode = format_.codec.opcode

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self.state in (State.GREETING, State.READY)

    @property
    def outbox_bytes(self) -> int:
        """How many bytes wait for the socket."""
        return self._outbox.size if self._outbox is not None else 0

    # Called by the task that owns the session.

    async def run(self, handlers: "Handlers", data: bytes) -> None:
        """Serve the device until either side closes. `data` came together with the handshake."""
        receive = self.link.receive
        self._send_at_once = handlers.send_at_once
        if self.link.can_read_nowait:
            self.link.on_readable = self._serve
        while True:
            if data and not await self._take(handlers, data):
                break
            if self._outbox is not None:  # refusals and the answers to sends too
                await self._make_room()
            data = await receive()
            if not data:
                break
            self.heard = True

    def _serve(self) -> bool:
        """Read, and serve what needs no waiting; tell whether nothing is left for the task. Called by the poller."""
        bucket = self.bucket
        if self.permit is None or bucket is None or self._outbox is not None or self.refused or self.under_way:
            return False
        data = self.link.read_nowait()
        if not data:
            return data is not None
        self.heard = True
        try:
            if self._serve_sends(data, bucket):
                return True
        except Exception as error:
            self._failure = error
        self.link.hand_over(data)
        return False

    def _serve_sends(self, data: bytes, bucket: TokenBucket) -> bool:
        """Publish and answer the messages of one read, in their order, up to the first that has to be waited for."""
        messages = self._fed = self._reader.feed(data)
        count = len(messages)
        now = self.hub.monotonic()
        if not bucket.take_together(now, count):
            return False
        commands = self._leading_sends(messages)
        served = self._send_at_once(self, commands, now, count == 1) if commands else 0
        if served == count and self._reader.error is None:
            self._fed = None
            self.hub.counters.bytes_in += len(data)
            return True
        bucket.give_back(count - served)
        del messages[:served]
        return False

    def _leading_sends(self, messages: list[tuple[int, bytes]]) -> list[Send]:
        """Decode messages up to the first that is no `send`; the task says what is wrong with it."""
        decode, expected = self.format.codec.decode_quickly, self._format_opcode
        commands: list[Send] = []
        try:
            for opcode, payload in messages:
                if opcode != expected or type(command := decode(payload)) is not Send:
                    break
                commands.append(command)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            pass
        return commands

    async def _take(self, handlers: "Handlers", data: bytes) -> bool:
        """Run everything that one read brought; tell whether to read on."""
        sends: list[Send] = []
        while self.under_way:
            self._settled = trio.Event()
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        messages, self._fed = self._fed, None
        if messages is None:
            messages = self._reader.feed(data)
        self.hub.counters.bytes_in += len(data)
        now = self.hub.monotonic()
        bucket = self.bucket or self._new_bucket()
        in_pace = bucket.take_together(now, len(messages))
        told = False
        if in_pace and self.refused:
            self.refused -= 1  # in time, who keeps to the rate is forgiven
        decode = self.format.codec.decode
        for opcode, payload in messages:
            wait = 0.0 if in_pace else bucket.take(now)
            if wait and not told:
                told = True
                self._count_refusal()
            if opcode == self._format_opcode:
                if self.state is State.CLOSING:
                    continue
                try:
                    command = decode(payload)
                except CodecError as error:
                    self._refuse_bytes(error)
                    continue
                if wait:
                    if sends:  # answers come in the order of the commands
                        await handlers.send(self, sends, now)
                        sends = []
                    self.reply_error(command.id, ErrorCode.RATE_LIMITED, "too many commands", wait)
                    continue
                if type(command) is Send:
                    if len(messages) > 1 or not handlers.send_at_once(self, (command,), now, True):
                        sends.append(command)
                    continue
                if sends:
                    await handlers.send(self, sends, now)
                    sends = []
                await handlers.handle(self, command)
                await self._make_room()
            elif opcode == Opcode.PING:
                if self.state is not State.CLOSING:  # nothing follows a close frame (RFC 6455 section 5.5.1)
                    self.write(server_frame(Opcode.PONG, payload))
            elif opcode == Opcode.CLOSE:
                if sends:
                    await handlers.send(self, sends, now)
                return self._answer_close(payload)
            elif opcode != Opcode.PONG and self.state is not State.CLOSING:
                self.close(CloseCode.UNSUPPORTED_DATA, f"this subprotocol has {self._format_opcode.name} messages")
        if sends:
            await handlers.send(self, sends, now)
        broken = self._reader.error
        if broken is not None:
            self.close(broken.code, broken.reason)
        return True

    async def _make_room(self) -> None:
        """Let the client read its answers before it gets more of them, so that it cannot ask for more than it takes.

        If it takes nothing for `websocket.stall_seconds`, the keepalive ends the session.
        """
        limit = self.hub.settings.limits.outbox_bytes
        if self._held is not None and sum(map(len, self._held)) > limit:
            self.flush()
        while self.outbox_bytes > limit and self.is_open:
            self._room = trio.Event()
            await self._room.wait()

    def _new_bucket(self) -> TokenBucket:
        """Make the bucket that this session's commands pass, when the first one comes."""
        limits = self.hub.settings.limits
        self.bucket = TokenBucket(limits.commands_per_second, limits.commands_burst)
        return self.bucket

    def _count_refusal(self) -> None:
        """Count a read of which something came over the rate; a client that goes on after being told is closed.

        Not each command of it: who sent many at once could not be told before.
        """
        self.refused += 1
        if self.refused > self.hub.settings.limits.rate_grace:
            self.close(CloseCode.TOO_FAST, "too many commands")

    def _refuse_bytes(self, error: CodecError) -> None:
        """Answer what is no command, if it has an id; else the session cannot go on."""
        if isinstance(error, BadCommand):
            self.reply_error(error.id, error.code, error.reason)
        else:
            self.close(CloseCode.BAD_MESSAGE, str(error))

    def _answer_close(self, payload: bytes) -> bool:
        """Send a close frame back if ours is not on its way; tell whether to wait for the other side to hang up."""
        if self.state is not State.CLOSING:
            code = int.from_bytes(payload[:2], "big") if payload else CloseCode.NORMAL
            self.close(code, "")
        self.flush()
        # With bytes still waiting the socket stays open until they are gone or the deadline of closing ends it.
        return self._outbox is not None

    # Called on the trio thread by whoever has something for the session.

    def reply(self, *events: Event) -> None:
        """Send events at the end of this turn, joined with whatever else the turn has for this session."""
        frame = self.format.frame
        self.reply_frames(frame(events[0]) if len(events) == 1 else b"".join([frame(event) for event in events]))

    def reply_frames(self, frames: bytes) -> None:
        """Send the frames of answers at the end of this turn, joined with whatever else the turn has for it."""
        if self.state is not State.CLOSING:  # nothing follows a close frame (RFC 6455 section 5.5.1)
            self._say(frames)

    def settle(self) -> None:
        """Serve what comes next: the message that was under way has its answer."""
        self.under_way = False
        if self._settled is not None:
            self._settled.set()
            self._settled = None

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
        """Send answers and the like at the end of this turn, however much waits: `_make_room` bounds them."""
        if self._held is not None:
            self._held.append(frames)
        elif self._outbox is not None:
            self._outbox.add(frames)
        elif self.state is not State.CLOSED:
            self._held = [frames]
            self.send = self._hold
            self.direct = None
            self.hub.hold(self)

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

    def close(self, code: int, reason: str) -> None:
        """Begin to close: nothing is sent after the close frame, and what comes in is thrown away."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self.state = State.CLOSING
        self.close_code = code
        self.hub.leave(self)
        # 1005 and the like are for a program's own use, they never go on the wire (RFC 6455 section 7.4.1).
        self._say(server_frame(Opcode.CLOSE, close_payload(code, reason)))
        self.hub.closing(self)
        self._let_go_on()

    def lose(self) -> None:
        """End at once: the connection is broken or the other side is not there any more."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.CLOSING:
            self.hub.leave(self)
        self.state = State.CLOSED
        self.send = self._discard
        self.direct = None
        self._held = None
        self._outbox = None
        self.link.quiet()
        self.hub.slow_sessions.discard(self)
        self.link.shut()
        self._let_go_on()

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


def send_to_all(data: bytes, sessions: Iterable[Session]) -> None:
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


def send_to(session: Session, data: bytes) -> None:
    """Hand bytes to one session."""
    send_to_all(data, (session,))
