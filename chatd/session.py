"""One connected device: reads, and runs what it asks for; how it is answered is in chatd/outlet.py.

Theory of operation. One task owns a session: it reads, and runs every command that one read brought. While it waits
the poller has the session serve what needs no waiting (`_serve`): most messages wake no task.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio
from msgspec import DecodeError

from chatd.accounts.principal import Principal
from chatd.limits import TokenBucket
from chatd.link import Link
from chatd.outlet import Outlet, State
from protocol.codec import BadCommand, CodecError
from protocol.codes import CloseCode, ErrorCode
from protocol.format import Format
from protocol.frames import FrameReader, Opcode, close_payload, server_frame
from protocol.messages import Send
from protocol.names import ChannelName

if TYPE_CHECKING:
    from chatd.backend.caller import Caller
    from chatd.channel import Channel
    from chatd.drafting import Permit
    from chatd.handlers import Handlers
    from chatd.hub import Hub, User

SendAtOnce = Callable[["Session", Sequence[Send], float, bool], int]
"""Publishes and answers messages up to the first that a task has to wait for; returns how many those are.

The last argument says whether they are one that came alone: only then its answer may come later, by `under_way`."""


class Session(Outlet):
    """One live connection of one device. Made by the listener after the handshake; ends when `run` returns."""

    __slots__ = (
        "_failure",
        "_fed",
        "_format_opcode",
        "_reader",
        "_send_at_once",
        "_settled",
        "attributes",
        "bucket",
        "caller",
        "close_code",
        "expires_at",
        "heard",
        "messages_in",
        "permit",
        "principal",
        "refused",
        "subscriptions",
        "under_way",
        "user",
    )

    def __init__(self, session_id: str, link: Link, format_: Format, reader: FrameReader, hub: "Hub") -> None:
        super().__init__(session_id, link, format_, hub)
        self.principal: Principal | None = None
        self.attributes: dict[str, str] | None = None  # what a backend said of it when it was let in
        self.user: User | None = None
        self.caller: Caller | None = None  # of a server session: the backend's key, in the place of a principal
        self.expires_at: int | None = None
        self.subscriptions: dict[ChannelName, Channel] | None = None
        self.bucket: TokenBucket | None = None
        self.permit: Permit | None = None  # to write where it wrote last, if no backend has a say in it
        self.refused = 0
        self.messages_in = 0
        self.heard = True  # anything was read since the keepalive last looked
        self.close_code: int | None = None
        self.under_way = False  # a message is being placed, which no task waits for; nothing else is served meanwhile
        self._reader = reader
        self._fed: list[tuple[int, bytes]] | None = None  # what `_serve` took from the reader and left to the task
        self._failure: Exception | None = None  # what went wrong there
        self._settled: trio.Event | None = None  # what the session's own task waits for while a message is under way
        self._send_at_once: SendAtOnce
        self._format_opcode = format_.codec.opcode

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
                await self.make_room()
            data = b""  # what is served needs no memory while the next is waited for, which may take hours
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
                await self.make_room()
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

    def settle(self) -> None:
        """Serve what comes next: the message that was under way has its answer."""
        self.under_way = False
        if self._settled is not None:
            self._settled.set()
            self._settled = None

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
