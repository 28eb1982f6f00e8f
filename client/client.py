"""The client that applications hold: one method for each command, and the events."""

import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Unpack

import trio

from client.answers import (
    Conversation,
    HistoryPage,
    Presence,
    Sent,
    Session,
    Subscription,
    channels_command,
    read_conversation,
    read_presence,
)
from client.connection import Raw
from client.errors import ConnectionClosed, ConnectionFailed, Unanswered
from client.events import Event
from client.inbox import Inbox
from client.link import Link
from client.options import Given, Options, TokenProvider, read_url


class Events:
    """Iterates over the events of a client; raises ConnectionClosed after the last one of a client that has to stop."""

    def __init__(self, inbox: Inbox[Event]) -> None:
        self._inbox = inbox

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        return await self._inbox.get()


class Client:
    """A user's device at a chatd server. Made by `open_client`; usable until its block is left.

    Reconnects by itself. Commands wait for a connection and are repeated where that is harmless; those that change
    members are not. All methods may be cancelled, and may be called from many tasks at once.

    Every command raises RequestError when the server refuses it, Unanswered when its time is over, and ConnectionClosed
    when the client had to stop (or, for those that are not repeated, when the connection ended before the answer).
    """

    def __init__(self, link: Link, options: Options) -> None:
        self._link = link
        self._options = options

    @property
    def session(self) -> Session:
        """Who this client is to the server, on its present or last connection."""
        assert self._link.session is not None
        return self._link.session

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a connection now."""
        return self._link.connection is not None

    @property
    def waiting_events(self) -> int:
        """How many events came and were not taken yet."""
        return len(self._link.inbox)

    def events(self) -> Events:
        """Iterate over messages and other events, for ever; meant for one task.

        Order and holes: the messages of a channel come by rising seq, each once. After a lost connection come
        Reconnected, then what was missed; where that is not all, Gap stands before what follows.

        Events that are not taken hold up the reading of the connection when `event_queue` of them wait.
        """
        return Events(self._link.inbox)

    async def subscribe(self, channel: str, since: tuple[str, int] | None = None) -> Subscription:
        """Get the channel's events, now and after each reconnect; with `since`, return what came after that place."""

        def begin(answer: Raw) -> None:
            self._link.places.subscribed(channel, answer["epoch"], answer["seq"])

        answer = await self.call({"type": "subscribe", "channel": channel, "since": since}, at_once=begin)
        messages = tuple(map(self._link.delivery.message, answer["messages"]))
        return Subscription(channel, answer["epoch"], answer["seq"], answer["recovered"], messages)

    async def unsubscribe(self, channel: str) -> None:
        """Get no more events of the channel."""
        command = {"type": "unsubscribe", "channel": channel}
        await self.call(command, at_once=lambda _answer: self._link.places.forget(channel))

    async def send(
        self,
        channel: str,
        data: dict[str, Any],
        *,
        key: str | None = None,
        retry: bool = False,
        seconds: float | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Sent:
        """Append a message to a channel, and return when the server has it.

        It is sent over as many connections as it takes, with the same key, so that it is stored once. Messages to one
        channel keep the order in which `send` was called, except behind one that was refused for a while (rate
        limits). A `key` that was used before the client was made is given with `retry=True`. `more` are further fields
        of the command, for servers that know them.

        Raises:
            Unanswered: `seconds` (else `send_seconds`) are over; whether it was stored is not known.
        """
        key = key or secrets.token_urlsafe(16)
        if self._link.stopped is not None:
            raise self._link.stopped_error() from self._link.stopped.__cause__
        with trio.move_on_after(self._options.send_seconds if seconds is None else seconds):
            return await self._link.sender.send(channel, key, data, retry=retry, more=more)
        raise Unanswered("send", key)

    async def history(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> HistoryPage:
        """Read a page of a channel: the newest one, the one before a seq, or the one after a seq."""
        command: Raw = {"type": "history", "channel": channel, "limit": limit}
        if before is not None:
            command["before"] = before
        if after is not None:
            command["after"] = after
        answer = await self.call(command)
        return HistoryPage(channel, tuple(map(self._link.delivery.message, answer["messages"])), answer["more"])

    async def presence(self, *, channel: str | None = None, users: Iterable[str] | None = None) -> Presence:
        """Ask who is in a channel, or in what state some users are; exactly one of both."""
        if (channel is None) == (users is None):
            raise ValueError("give `channel` or `users`")
        about: Raw = {"users": list(users)} if users is not None else {"channel": channel}
        return read_presence(await self.call({"type": "presence", **about}))

    async def status(self, state: Literal["online", "away"]) -> None:
        """Say whether the person is looking; said again after each reconnect."""
        self._link.is_away = state == "away"
        await self.call({"type": "status", "state": state})

    async def channels(
        self, *, since: int = 0, limit: int = 100, after: Conversation | None = None
    ) -> tuple[Conversation, ...]:
        """List the member channels of the user that had news since a time (Unix milliseconds), the newest first.

        The next page follows `after` the last one of the page before; an empty page is the end. The server may give
        fewer than `limit`.
        """
        answer = await self.call(channels_command(since, limit, after))
        return tuple(map(read_conversation, answer["channels"]))

    async def read(self, channel: str, seq: int) -> None:
        """Say that the user has read a member channel up to this seq; own messages count as unread until then."""
        await self.call({"type": "read", "channel": channel, "seq": seq})

    async def create(self, channel: str, members: Iterable[str] = ()) -> None:
        """Make a channel with members. Not repeated when the connection ends: it may have been made."""
        await self.call({"type": "create", "channel": channel, "members": list(members)}, repeat=False)

    async def members(self, channel: str) -> dict[str, str]:
        """Return the roles of a channel's members, by user."""
        answer = await self.call({"type": "members", "channel": channel})
        roles: dict[str, str] = answer["members"]
        return roles

    async def invite(self, channel: str, users: Iterable[str], role: Literal["member", "admin"] = "member") -> None:
        """Add users to a channel, or change their role. Not repeated when the connection ends."""
        await self.call({"type": "invite", "channel": channel, "users": list(users), "role": role}, repeat=False)

    async def remove(self, channel: str, users: Iterable[str]) -> None:
        """Take users out of a channel. Not repeated when the connection ends."""
        await self.call({"type": "remove", "channel": channel, "users": list(users)}, repeat=False)

    async def refresh(self, token: str) -> int | None:
        """Show the server a newer token; for clients that were given a text and no provider.

        Returns when the token's time is over, by the server's clock (see `Session.expires`).
        """
        answer = await self.call({"type": "refresh", "token": token})
        self._link.use_token(token)
        expires: int | None = answer.get("expires")
        return expires

    async def ping(self) -> float:
        """Return the seconds that a command and its answer take."""
        began = trio.current_time()
        await self.call({"type": "ping"})
        return trio.current_time() - began

    async def call(self, command: Raw, *, repeat: bool = True, at_once: Callable[[Raw], None] | None = None) -> Raw:
        """Say any command and return its answer, for what has no method here; `repeat` where that is harmless."""
        with trio.move_on_after(self._options.answer_seconds):
            while True:
                connection = await self._link.online()
                try:
                    return await connection.call(command, at_once)
                except ConnectionClosed:
                    if not repeat:
                        raise
                await self._link.over(connection)
        raise Unanswered(command["type"])


@asynccontextmanager
async def open_client(
    url: str, *, token: str | TokenProvider, chance: random.Random | None = None, **given: Unpack[Given]
) -> AsyncIterator[Client]:
    """Connect to a server (`ws://` or `wss://`) and keep connected until the block is left.

    `token` is an access token or a coroutine function that returns one that is good now. The other arguments are
    those of `Options`. Nothing that was started outlives the block. An error of the block comes out as it is.

    Raises:
        ConnectionClosed: The server does not want this client.
        ConnectionFailed: There was no connection within `connect_seconds`.
    """
    options = Options(**given)
    link = Link(read_url(url), token, options, chance or random.Random())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            nursery.start_soon(link.sender.run)
            await _first_connection(link, options.connect_seconds)
            yield Client(link, options)
            await link.close()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


async def _first_connection(link: Link, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await link.online()
        return
    raise ConnectionFailed(f"no connection within {seconds:g} s: {link.last_error}") from link.last_error
