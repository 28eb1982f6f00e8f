"""The client that backends hold: a server session, authenticated by an API key.

async with open_backend("ws://127.0.0.1:8000/v1/ws", key="chatd_key_…") as backend:
    await backend.send("event:prices", {"coffee": 3})
    await backend.broadcast({"text": "hello"}, users=["alice", "bob"])
"""

import random
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from client.answers import HistoryPage, Presence, Sent, Session, Subscription
from client.client import Client, Events, open_client
from client.connection import Raw
from client.errors import RequestError
from client.options import Given


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a broadcast in one channel: its place, or the error that refused it there."""

    channel: str
    sent: Sent | None
    error: RequestError | None


@dataclass(frozen=True, slots=True)
class UserSession:
    """One session of a user."""

    session: str
    user: str
    device: str
    address: str


class BackendClient:
    """A backend at a chatd server. Made by `open_backend`; usable until its block is left.

    It reconnects and repeats as `Client` does, and its commands raise the same errors. What its key does not allow is
    refused with code 207. Commands that change something other than by a key are not repeated.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def session(self) -> Session:
        """Who this backend is to the server: `user` is `backend`, `device` the id of its key."""
        return self._client.session

    def events(self) -> Events:
        """Iterate over the messages of the channels that this session is subscribed to."""
        return self._client.events()

    async def send(
        self,
        channel: str,
        data: dict[str, Any],
        *,
        sender: str | None = None,
        ttl_seconds: float | None = None,
        key: str | None = None,
        retry: bool = False,
        seconds: float | None = None,
    ) -> Sent:
        """Publish a message to any channel, from the backend itself or from a user; return when the server has it.

        Many may be under way at once: the answers to what arrives together come together.

        Raises:
            Unanswered: `seconds` (else `send_seconds`) are over; whether it was stored is not known.
        """
        more = _more(sender, ttl_seconds)
        return await self._client.send(channel, data, key=key, retry=retry, seconds=seconds, more=more)

    async def broadcast(
        self,
        data: dict[str, Any],
        *,
        channels: Iterable[str] = (),
        users: Iterable[str] = (),
        member_of: str = "",
        sender: str | None = None,
        ttl_seconds: float | None = None,
        key: str | None = None,
    ) -> tuple[Placed, ...]:
        """Publish the same message to channels, to inboxes of users, to all member channels of a user.

        It is repeated after a lost connection, with the same key, so that each channel gets it once.
        """
        command: Raw = {
            "type": "broadcast",
            "channels": list(channels),
            "users": list(users),
            "member_of": member_of,
            "key": key or secrets.token_urlsafe(16),
            "data": data,
            "retry": True,
            **_more(sender, ttl_seconds),
        }
        answer = await self._client.call(command)
        return tuple(map(_placed, answer["results"]))

    async def subscribe(self, channel: str, since: tuple[str, int] | None = None) -> Subscription:
        """Get the channel's events, now and after each reconnect."""
        return await self._client.subscribe(channel, since)

    async def unsubscribe(self, channel: str) -> None:
        """Get no more events of the channel."""
        await self._client.unsubscribe(channel)

    async def history(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> HistoryPage:
        """Read a page of a channel."""
        return await self._client.history(channel, before=before, after=after, limit=limit)

    async def presence(self, *, channel: str | None = None, users: Iterable[str] | None = None) -> Presence:
        """Ask who is in a channel, or in what state some users are; exactly one of both."""
        return await self._client.presence(channel=channel, users=users)

    async def members(self, channel: str) -> dict[str, str]:
        """Return the roles of a channel's members, by user."""
        return await self._client.members(channel)

    async def create(self, channel: str, members: Iterable[str]) -> None:
        """Make a channel with members; the first of them owns it."""
        await self._client.create(channel, members)

    async def invite(self, channel: str, users: Iterable[str], role: Literal["member", "admin"] = "member") -> None:
        """Add users to a channel, or change their role."""
        await self._client.invite(channel, users, role)

    async def remove(self, channel: str, users: Iterable[str]) -> None:
        """Take users out of a channel."""
        await self._client.remove(channel, users)

    async def sessions(self, user: str) -> tuple[UserSession, ...]:
        """List the sessions of a user."""
        answer = await self._client.call({"type": "sessions", "user": user})
        return tuple(
            UserSession(one["session"], one["user"], one["device"], one["address"]) for one in answer["sessions"]
        )

    async def disconnect(self, *, user: str = "", session: str = "", reconnect: bool = False, reason: str = "") -> int:
        """End one session, or all of a user; return how many there were."""
        command: Raw = {"type": "disconnect", "user": user, "session": session, "reconnect": reconnect}
        return await self._affected({**command, "reason": reason})

    async def subscribe_user(self, user: str, channel: str) -> int:
        """Subscribe every session of a user to a channel; return how many were not yet."""
        return await self._affected({"type": "subscribe_user", "user": user, "channel": channel})

    async def unsubscribe_user(self, user: str, channel: str) -> int:
        """End the subscriptions of a user to a channel; return how many sessions had one."""
        return await self._affected({"type": "unsubscribe_user", "user": user, "channel": channel})

    async def _affected(self, command: Raw) -> int:
        answer = await self._client.call(command, repeat=False)
        count: int = answer["sessions"]
        return count


@asynccontextmanager
async def open_backend(
    url: str, *, key: str, chance: random.Random | None = None, **given: Unpack[Given]
) -> AsyncIterator[BackendClient]:
    """Connect to a server with an API key, and keep connected until the block is left.

    Raises:
        ConnectionClosed: The server does not want this key.
        ConnectionFailed: There was no connection within `connect_seconds`.
    """
    async with open_client(url, token=key, chance=chance, **given) as client:
        yield BackendClient(client)


def _more(sender: str | None, ttl_seconds: float | None) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if sender is not None:
        more["from"] = sender
    if ttl_seconds is not None:
        more["ttl_seconds"] = ttl_seconds
    return more


def _placed(raw: Raw) -> Placed:
    if "code" in raw:
        return Placed(raw["channel"], None, RequestError(raw["code"], raw["reason"], raw.get("retry_after")))
    sent = Sent(raw["channel"], raw["epoch"], raw["seq"], raw["at"], raw.get("duplicate", False))
    return Placed(raw["channel"], sent, None)
