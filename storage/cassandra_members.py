"""Members of channels in Cassandra.

A channel's members are one row, changed under the condition that nobody changed it meanwhile: so changes are made in
one step, one after the other. The rows by which a user's channels are found follow it. Which of them are still to be
made or removed is part of that step; whoever finds such a note, after a crash in between, finishes the work. Their
timestamp is the version of the channel's row, so an older change that comes late undoes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from protocol.names import ChannelName, UserId
from storage import AlreadyExists, StoreError, StoreUnavailable
from storage.cassandra_background import Background
from storage.cassandra_batches import at_once, split, write_all
from storage.cassandra_messages import HEADS_AT_ONCE, Messages
from storage.cassandra_session import Session
from storage.records import MemberRecord, Membership, Place, Role

ROUNDS = 20  # how often a change begins again because another one was faster
PAGE_ROWS = 1000

_READ = "SELECT version, members, unlisted FROM members WHERE channel = ?"
_MAKE = "INSERT INTO members (channel, version, members, unlisted) VALUES (?, ?, ?, ?) IF NOT EXISTS"
_CHANGE = "UPDATE members SET version = ?, members = ?, unlisted = ? WHERE channel = ? IF version = ?"
_LISTED = "UPDATE members SET unlisted = '' WHERE channel = ? IF version = ?"
_LIST = "INSERT INTO channels_by_user (user, channel, role, joined_at) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_UNLIST = "DELETE FROM channels_by_user USING TIMESTAMP ? WHERE user = ? AND channel = ?"
_CHANNELS = "SELECT channel, role, joined_at FROM channels_by_user WHERE user = ? AND channel > ? LIMIT ?"

_People = dict[UserId, tuple[Role, int]]
_Change = Callable[[_People], _People]
_decode_people = msgspec.json.Decoder(_People).decode
_decode_users = msgspec.json.Decoder(list[UserId]).decode

_log = structlog.get_logger(__name__)


class _State(NamedTuple):
    """A channel's row; version 0 is that there is none."""

    version: int
    people: _People
    unlisted: list[UserId]


class Members:
    """Reads and changes who belongs where."""

    def __init__(self, session: Session, messages: Messages, background: Background) -> None:
        self._session = session
        self._messages = messages
        self._background = background

    async def members(self, channel: ChannelName) -> dict[UserId, Role]:
        """Read who belongs to a channel."""
        state = await self._read(channel)
        if state.unlisted:
            self._background.start(self._repair, channel, state)
        return {user: role for user, (role, _) in state.people.items()}

    async def create(self, channel: ChannelName, first: Mapping[UserId, Role], at: int) -> None:
        """Make a channel with its first members, or raise AlreadyExists."""

        def made(people: _People) -> _People:
            if people:
                raise AlreadyExists(f"the channel {channel} exists")
            return {user: (role, at) for user, role in first.items()}

        await self._change(channel, made)

    async def change(self, channel: ChannelName, put: Mapping[UserId, Role], remove: Iterable[UserId], at: int) -> None:
        """Add members or change their roles, and remove others."""
        gone = set(remove)

        def changed(people: _People) -> _People:
            new = people | {user: (role, people.get(user, (role, at))[1]) for user, role in put.items()}
            return {user: entry for user, entry in new.items() if user not in gone}

        await self._change(channel, changed)

    async def load(self, channel: ChannelName, records: Sequence[MemberRecord]) -> None:
        """Put members as they are, with their times of joining."""
        loaded = {record.user: (record.role, record.joined_at) for record in records}
        await self._change(channel, lambda people: people | loaded)

    async def _change(self, channel: ChannelName, change: _Change) -> None:
        for _ in range(ROUNDS):
            state = await self._read(channel)
            new = _next(state, change(dict(state.people)))
            if new.people == state.people and not state.unlisted:
                return
            if await self._swap(channel, state.version, new):
                await self._list(channel, new)
                return
        raise StoreUnavailable(f"the members of {channel} change too fast")

    async def _read(self, channel: ChannelName) -> _State:
        for version, people, unlisted in await self._session.read(_READ, (channel,)):
            return _State(version, _decode_people(people), _decode_users(unlisted) if unlisted else [])
        return _State(0, {}, [])

    async def _swap(self, channel: ChannelName, old: int, new: _State) -> bool:
        people, unlisted = (msgspec.json.encode(value).decode() for value in (new.people, new.unlisted))
        if old == 0:
            answer = await self._session.change(_MAKE, (channel, new.version, people, unlisted))
        else:
            answer = await self._session.change(_CHANGE, (new.version, people, unlisted, channel, old))
        return bool(answer[0])

    async def _list(self, channel: ChannelName, state: _State) -> None:
        """Make and remove the rows by which users find the channel, then take the note away."""
        there = [user for user in state.unlisted if user in state.people]
        rows = [(user, channel, *state.people[user], state.version) for user in there]
        await write_all(self._session, _LIST, rows)
        gone = [(state.version, user, channel) for user in state.unlisted if user not in state.people]
        await write_all(self._session, _UNLIST, gone)
        await self._session.change(_LISTED, (channel, state.version))

    async def _repair(self, channel: ChannelName, state: _State) -> None:
        """Finish what a node left that ended in the middle. If another one is at it, both write the same."""
        try:
            await self._list(channel, state)
        except StoreError as error:
            _log.warning("the channels of some members are not listed yet", channel=channel, error=str(error))

    # A user's channels.

    async def channels(self, user: UserId) -> list[tuple[ChannelName, Role, int]]:
        """Read the channels of a user, with role and time of joining."""
        found: list[tuple[ChannelName, Role, int]] = []
        last = ""
        while rows := await self._session.read(_CHANNELS, (user, last, PAGE_ROWS)):
            found += [(ChannelName(channel), Role(role), joined_at) for channel, role, joined_at in rows]
            last = found[-1][0]
            if len(rows) < PAGE_ROWS:
                break
        return found

    async def memberships(
        self, user: UserId, since: int, after: tuple[int, ChannelName] | None, limit: int
    ) -> list[Membership]:
        """Read the user's channels, the newest first.

        Where each channel ends is read from its messages, many channels with one question: so a message costs no
        write for each member.
        """
        channels = await self.channels(user)
        names = [channel for channel, _, _ in channels]
        last: dict[ChannelName, Place] = {}
        asked = [partial(self._messages.heads, some) for some in split(names, HEADS_AT_ONCE)]
        for heads in await at_once(asked):
            last |= heads
        found = [
            Membership(channel=channel, role=role, joined_at=joined_at, last=last.get(channel))
            for channel, role, joined_at in channels
        ]
        found = [each for each in found if each.at >= since]
        if after is not None:
            at, name = after
            found = [each for each in found if (-each.at, each.channel) > (-at, name)]
        found.sort(key=lambda each: (-each.at, each.channel))
        return found[:limit]


def members_of(channel: ChannelName, text: str) -> list[MemberRecord]:
    """Make records of a channel's row."""
    return [
        MemberRecord(channel=channel, user=user, role=role, joined_at=joined_at)
        for user, (role, joined_at) in _decode_people(text).items()
    ]


def _next(state: _State, people: _People) -> _State:
    """Return the state after a change, with a note of whose rows have to follow."""
    touched = {user for user in state.people.keys() | people.keys() if state.people.get(user) != people.get(user)}
    return _State(state.version + 1, people, sorted(touched.union(state.unlisted)))
