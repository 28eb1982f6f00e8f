"""The way of an event to the application: in order, once, holes filled from the history before what follows them."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import trio

from client.answers import Conversation, channels_command, read_conversation
from client.connection import Connection, Raw
from client.errors import MALFORMED, ClientError, ConnectionClosed, RequestError
from client.events import Event, Gap, Message, Unsubscribed, read_event, read_message
from client.inbox import Inbox
from client.places import Places
from client.sender import Sender

log = logging.getLogger("chatd.client")

PAGE = 200
FILL_PAGES = 10
CHANNELS = 1000
CHANNEL_PAGES = 10
OWN_ANSWER_SECONDS = 10.0
RETRY_SECONDS = 1.0
TRIES = 5


class Delivery:
    """Hands events to the inbox, and fills holes in tasks of the connection that they were found on."""

    def __init__(self, inbox: Inbox[Event], places: Places, sender: Sender) -> None:
        self._inbox = inbox
        self._places = places
        self._sender = sender
        self._connection: Connection | None = None
        self._nursery: trio.Nursery | None = None

    def on_event(self, raw: Raw) -> None:
        """Take an event of the server's."""
        if raw["type"] == "message":
            message = self.message(raw)
            events, is_hole = self._places.take(message)
            self._put(events)
            if is_hole:
                self._start_filling(message.channel, 0)
        elif raw["type"] == "subscribed":  # nobody here asked for it: a backend did
            self._places.subscribed(raw["channel"], raw["epoch"], raw["seq"])
        elif event := read_event(raw):
            if isinstance(event, Unsubscribed):
                self._places.forget(event.channel)
            self._inbox.put(event)

    def message(self, raw: Raw) -> Message:
        """Make a message of the server's object, and mark it if it is an own one."""
        return read_message(raw, self._sender.own_keys)

    # Resuming.

    def use(self, connection: Connection, nursery: trio.Nursery) -> None:
        """Fill holes on this connection from now on."""
        self._connection, self._nursery = connection, nursery

    def lost(self) -> None:
        """Fill nothing until the next connection."""
        self._connection = self._nursery = None
        self._places.disconnected()

    def resume(self, asked: Iterable[str], resumed: dict[str, Raw]) -> None:
        """Take what the cursors of `connect` brought."""
        for channel in asked:
            raw = resumed.get(channel)
            if raw is not None:
                messages = [self.message(message) for message in raw["messages"]]
                self._put(self._places.resumed(channel, raw["epoch"], raw["seq"], raw["recovered"], messages))
            else:
                self._places.forget(channel)  # `unsubscribed` follows and says why

    def subscribe_rest(self, asked: Iterable[str]) -> None:
        """Subscribe again, in a task of the connection, to what `connect` had no room for."""
        rest = self._places.subscriptions().keys() - set(asked)
        if rest and self._nursery and self._connection:
            self._nursery.start_soon(self._subscribe_rest, self._connection, sorted(rest))

    async def _subscribe_rest(self, connection: Connection, rest: list[str]) -> None:
        for channel in rest:
            since = self._places.subscriptions().get(channel)
            if since is None:
                continue  # the application unsubscribed meanwhile
            try:
                command = {"type": "subscribe", "channel": channel, "since": since}
                await _persist(connection, command, lambda raw: self.resume([raw["channel"]], {raw["channel"]: raw}))
            except RequestError as error:
                self._places.forget(channel)
                self._inbox.put(Unsubscribed(channel, error.code, error.reason))
            except ClientError as error:
                log.info("cannot subscribe to %s again: %r", channel, error)

    def begin_catch_up(self, since: int, resumed: Iterable[str]) -> None:
        """Find out, in a task of the connection, what happened since that time in channels that were not resumed."""
        if self._nursery and self._connection:
            self._places.hold_unknown()
            self._nursery.start_soon(self._catch_up, self._connection, since, set(resumed))

    async def _catch_up(self, connection: Connection, since: int, resumed: set[str]) -> None:
        try:
            for conversation in reversed(await self._with_news(connection, since)):
                if conversation.channel not in resumed:
                    await self._catch_up_with(connection, conversation, since)
        except (ClientError, *MALFORMED) as error:
            log.info("cannot ask what was missed: %r", error)
        for channel in self._places.stop_holding_unknown():
            self._release(channel)

    async def _with_news(self, connection: Connection, since: int) -> list[Conversation]:
        """Return the conversations with news since that time, the newest first."""
        found: list[Conversation] = []
        for _ in range(CHANNEL_PAGES):
            answer = await _persist(connection, channels_command(since, CHANNELS, found[-1] if found else None))
            found += map(read_conversation, answer["channels"])
            if not answer["more"]:
                break
        return found

    async def _catch_up_with(self, connection: Connection, conversation: Conversation, since: int) -> None:
        """Bring a conversation to where the server says it stands."""
        channel, known = conversation.channel, self._places.seq(conversation.channel)
        if known is None or known < 0:
            page = await _persist(connection, {"type": "history", "channel": channel, "limit": PAGE})
            messages = [m for m in map(self.message, page["messages"]) if m.at >= since]
            if messages:
                if page["more"] and len(messages) == len(page["messages"]):
                    self._inbox.put(Gap(channel, messages[0].epoch, messages[0].seq))
                self._places.begin(channel, messages[0].epoch, messages[0].seq - 1)
                self._put(self._places.fill(messages))
                self._release(channel)
        elif conversation.seq > known:
            self._places.hold(channel)
            await self._fill(connection, channel, conversation.seq)

    # Filling.

    def _start_filling(self, channel: str, up_to: int) -> None:
        if self._nursery and self._connection:
            self._nursery.start_soon(self._fill, self._connection, channel, up_to)

    async def _fill(self, connection: Connection, channel: str, up_to: int) -> None:
        """Read what is missing before the held messages, then hand them on."""
        with trio.move_on_after(OWN_ANSWER_SECONDS):
            # The hole may be an own message whose answer is on its way.
            while self._places.needs(channel, up_to) and self._sender.is_busy(channel):
                await self._sender.changed()
        try:
            for _ in range(FILL_PAGES):
                if not self._places.needs(channel, up_to):
                    break
                page = {"type": "history", "channel": channel, "after": self._places.seq(channel), "limit": PAGE}
                answer = await _persist(connection, page)
                self._put(self._places.fill(self.message(raw) for raw in answer["messages"]))
                if not answer["more"]:
                    break
        except ConnectionClosed:
            return  # the next connection brings what was held
        except (ClientError, *MALFORMED) as error:
            log.info("cannot fill a hole in %s: %r", channel, error)
        self._release(channel)

    def _release(self, channel: str) -> None:
        events, is_hole = self._places.release(channel)
        self._put(events)
        if is_hole:
            self._start_filling(channel, 0)

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            self._inbox.put(event)


async def _persist(
    connection: Connection, command: dict[str, Any], at_once: Callable[[Raw], None] | None = None
) -> Raw:
    """Ask again a few times where the server says that it may help."""
    for _ in range(TRIES):
        try:
            return await connection.call(command, at_once)
        except RequestError as error:
            if not error.may_retry:
                raise
            await trio.sleep(RETRY_SECONDS if error.retry_after is None else error.retry_after)
    return await connection.call(command, at_once)
