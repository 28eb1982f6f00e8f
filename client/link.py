"""The link to the server: connects, resumes, and connects again, until the server does not want it or it is closed."""

import logging
import random
from dataclasses import dataclass
from functools import partial

import trio
import trio_websocket

from client.answers import Session, read_session
from client.backoff import Backoff
from client.codec import CODECS
from client.connection import Connection, Raw
from client.delivery import Delivery
from client.errors import (
    ABNORMAL,
    BAD_TOKEN,
    DRAINING,
    TOKEN_EXPIRED,
    TOKEN_OVER,
    TOO_FAST,
    ClientError,
    ConnectionClosed,
    RequestError,
)
from client.events import Event, Reconnected
from client.inbox import Inbox
from client.options import Address, Options, TokenProvider, dial
from client.places import Places
from client.sender import Sender
from client.websocket import HeardStream, WebSocket, retry_after

log = logging.getLogger("chatd.client")

SINCE_MARGIN_MS = 5000
TOKEN_PART = 0.9
TOKEN_AGAIN_SECONDS = 5.0
PATIENCE = 2.0
"""So many keepalive periods of silence mean a dead connection."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one connection, or one try to make it, ended."""

    error: Exception
    held_seconds: float = 0.0
    retry_after: float | None = None
    at_once: bool = False
    is_final: bool = False


class Link:
    """Keeps one connection, and owns what outlives it: the places, the inbox, and the messages on their way."""

    def __init__(self, address: Address, token: str | TokenProvider, options: Options, chance: random.Random) -> None:
        self._address = address
        self._token = token
        self._options = options
        self._chance = chance
        self._codec = CODECS[options.encoding]
        self.inbox: Inbox[Event] = Inbox(options.event_queue)
        self.places = Places(options.remembered_channels)
        self.sender = Sender(self.places)
        self.delivery = Delivery(self.inbox, self.places, self.sender)
        self.connection: Connection | None = None
        self.session: Session | None = None
        self.is_away = False
        self.stopped: ConnectionClosed | None = None
        self.last_error: Exception | None = None
        self._changed = trio.Event()
        self._server_time_offset = 0.0
        self._heard_until = 0
        self._connected_at: float | None = None
        self._refused: RequestError | None = None
        self._bad_tokens = 0
        self._is_paused = False
        self._read_again_at = 0.0
        self._is_leaving = False
        self._is_closing = False
        self._is_given_up = False

    async def run(self) -> None:
        """Keep connected; return when the server does not want this client any more."""
        backoff = Backoff(self._chance)
        while True:
            ended = await self._connect()
            if self._is_closing:
                return
            self.last_error = ended.error
            if ended.is_final:
                self._stop(ended.error)
                return
            wait = backoff.after(ended.held_seconds, retry_after=ended.retry_after, at_once=ended.at_once)
            log.info("not connected (%s); the next try is in %.1f s", ended.error, wait)
            await trio.sleep(wait)

    async def close(self) -> None:
        """Say goodbye to the server; `run` returns then."""
        self._is_closing = True
        if self.connection is not None:
            await self.connection.close()

    async def online(self) -> Connection:
        """Wait for a connection that has said `connected`.

        Raises:
            ConnectionClosed: There will be none.
        """
        await trio.lowlevel.checkpoint()
        while self.connection is None:
            if self.stopped is not None:
                raise self.stopped_error() from self.stopped.__cause__
            await self._changed.wait()
        return self.connection

    async def over(self, connection: Connection) -> None:
        """Wait until this connection is known to be over."""
        while self.connection is connection:
            await self._changed.wait()

    def stopped_error(self) -> ConnectionClosed:
        """Return a fresh error that says why there will be no connection."""
        assert self.stopped is not None
        return ConnectionClosed(self.stopped.code, self.stopped.reason)

    def use_token(self, token: str) -> None:
        """Show this token at the next connects, unless a provider was given."""
        if isinstance(self._token, str):
            self._token = token

    # One connection.

    async def _connect(self) -> Ended:
        """Make one connection and serve it until it is over."""
        try:
            token = self._token if isinstance(self._token, str) else await self._token()
        except RequestError as error:
            return Ended(error, retry_after=error.retry_after, is_final=not error.may_retry)
        except Exception as error:  # whatever the application's own code meets, mostly no network: it is asked again
            return Ended(error)
        try:
            with trio.fail_after(self._options.handshake_seconds):
                stream = await self._dial()
        except (OSError, trio.TooSlowError) as error:
            return Ended(error)
        socket = self._wrap(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.run)
            try:
                ended = await self._open(socket) or await self._serve(socket, token, nursery)
            finally:
                await socket.close(1000, self._options.close_seconds)
            nursery.cancel_scope.cancel()
        return ended

    async def _dial(self) -> trio.abc.Stream:
        if self._options.dial is not None:
            return await self._options.dial(self._address)
        return await dial(self._address, self._options.ssl_context)

    def _wrap(self, stream: trio.abc.Stream) -> WebSocket:
        return WebSocket(
            HeardStream(stream),
            host=self._address.host_header,
            path=self._address.path,
            subprotocols=[self._codec.subprotocol],
            compression=self._options.compression,
            max_message_bytes=self._options.max_message_bytes,
            extra_headers=list(self._options.extra_headers),
        )

    async def _open(self, socket: WebSocket) -> Ended | None:
        """Wait for the end of the handshake; None if it is good."""
        try:
            with trio.fail_after(self._options.handshake_seconds):
                await socket.opened()
        except trio_websocket.ConnectionRejected as refusal:
            is_wrong = 400 <= refusal.status_code < 500 and refusal.status_code not in (408, 429)
            error = ConnectionClosed(ABNORMAL, f"the handshake was refused with status {refusal.status_code}")
            return Ended(error, retry_after=retry_after(refusal), is_final=is_wrong)
        except (trio_websocket.HandshakeError, trio.TooSlowError) as error:
            return Ended(error)
        if socket.subprotocol != self._codec.subprotocol:
            return Ended(ConnectionClosed(ABNORMAL, "the server does not know the subprotocol"), is_final=True)
        return None

    async def _serve(self, socket: WebSocket, token: str, nursery: trio.Nursery) -> Ended:
        """Say `connect`, and read until the connection is over."""
        connection = Connection(socket, self._codec, partial(self._on_event, nursery), self.inbox.wake)
        self._connected_at = self._refused = None
        self._is_leaving = self._is_given_up = False
        cursors = self.places.cursors(self._options.cursors)
        hello: Raw = {"type": "connect", "token": token, "cursors": cursors}
        if self._options.device:
            hello["device"] = self._options.device
        connection.begin(hello, partial(self._on_hello, connection, nursery, list(cursors)))
        nursery.start_soon(connection.write_loop)
        nursery.start_soon(self._watch, socket)
        try:
            closed = await connection.read_loop(partial(self._room, connection))
        finally:
            self._lost(connection, socket)
        connection.end(closed)
        return self._judge(connection, closed)

    def _on_hello(
        self, connection: Connection, nursery: trio.Nursery, asked: list[str], answer: Raw | ClientError
    ) -> None:
        if isinstance(answer, ClientError):
            self._refused = answer if isinstance(answer, RequestError) else None
            return
        is_first = self.session is None
        self.session = read_session(answer)
        self._connected_at = trio.current_time()
        self._server_time_offset = answer["time"] / 1000 - trio.current_time()
        self._bad_tokens = 0
        self.delivery.use(connection, nursery)
        if not is_first:
            self.inbox.put(Reconnected(self.session.session))
        self.delivery.resume(asked, answer["resumed"])
        self.delivery.subscribe_rest(asked)
        if not is_first and self._options.catch_up:
            self.delivery.begin_catch_up(max(0, self._heard_until - SINCE_MARGIN_MS), answer["resumed"])
        if self.is_away:
            connection.begin({"type": "status", "state": "away"}, lambda _answer: None)
        if not isinstance(self._token, str):
            nursery.start_soon(self._renew, connection, self.session.expires)
        self.connection = connection
        self.sender.use(connection)
        self._notify()

    def _lost(self, connection: Connection, socket: WebSocket) -> None:
        if self.connection is connection:
            self._heard_until = int((socket.heard_at + self._server_time_offset) * 1000)
            self.connection = None
            self.delivery.lost()
            self.sender.use(None)
            self._notify()

    def _judge(self, connection: Connection, closed: ConnectionClosed) -> Ended:
        """Decide from how the connection ended whether to come back, and when."""
        held = 0.0 if self._connected_at is None else trio.current_time() - self._connected_at
        said = self._refused or connection.refusal
        if self._is_given_up:
            closed = ConnectionClosed(ABNORMAL, "nothing was heard from the server")
        closed.__cause__ = said
        if self._refused and self._refused.may_retry:
            return Ended(closed, retry_after=self._refused.retry_after)
        if closed.code == TOKEN_OVER or (said and said.code in (BAD_TOKEN, TOKEN_EXPIRED)):
            # A provider may have a better token now; the same text again would be refused again.
            self._bad_tokens += 1
            return Ended(closed, held, is_final=isinstance(self._token, str) or self._bad_tokens > 1)
        wait = connection.retry_after if closed.code == TOO_FAST else said.retry_after if said else None
        at_once = self._is_leaving or closed.code == DRAINING
        return Ended(closed, held, retry_after=wait, at_once=at_once, is_final=not closed.may_reconnect)

    # Tasks and callbacks of a connection.

    def _on_event(self, nursery: trio.Nursery, raw: Raw) -> None:
        if raw["type"] == "reconnect":
            nursery.start_soon(self._leave, raw["after_seconds"])
        else:
            self.delivery.on_event(raw)

    async def _leave(self, after_seconds: float) -> None:
        """Go on for so long, then close; the next connect follows at once."""
        await trio.sleep(after_seconds)
        if (connection := self.connection) is not None:
            self._is_leaving = True
            self.sender.use(None)
            await connection.settled(self._options.close_seconds)
            await connection.close()

    async def _room(self, connection: Connection) -> None:
        """Wait while the application has more events to take than it should."""
        while not self.inbox.has_room(connection.is_awaited):
            self._is_paused = True
            await self.inbox.changed()
        if self._is_paused:
            self._is_paused = False
            self._read_again_at = trio.current_time()

    async def _watch(self, socket: WebSocket) -> None:
        """Give the connection up when `connected` does not come in time, or nothing at all for too long."""
        await trio.sleep(self._options.handshake_seconds)
        while self._connected_at is not None and self.session is not None:
            allowed = PATIENCE * self.session.ping_seconds
            now = trio.current_time()
            left = allowed if self._is_paused else max(socket.heard_at, self._read_again_at) + allowed - now
            if left <= 0:
                break
            await trio.sleep(left)
        self._is_given_up = True
        await socket.close(1000, 0.0)

    async def _renew(self, connection: Connection, expires: int | None) -> None:
        """Show the server a newer token before the one in use runs out. `expires` is a time of the server's clock."""
        assert not isinstance(self._token, str)
        is_new = True
        while expires is not None:
            left_seconds = expires / 1000 - self._server_time_offset - trio.current_time() if is_new else 0.0
            part = TOKEN_PART - self._chance.random() * 0.1
            await trio.sleep(max(TOKEN_AGAIN_SECONDS, left_seconds * part))
            try:
                answer = await connection.call({"type": "refresh", "token": await self._token()})
                expires, is_new = answer.get("expires"), True
            except ConnectionClosed:
                return
            except Exception as error:  # the application's own code, or a refusal: the server closes in the end
                log.warning("cannot renew the token: %s", error)
                is_new = False

    def _stop(self, error: Exception) -> None:
        if isinstance(error, ConnectionClosed):
            self.stopped = error
        else:
            self.stopped = ConnectionClosed(ABNORMAL, str(error))
            self.stopped.__cause__ = error
        self.sender.stop(self.stopped)
        self.inbox.close(self.stopped)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
