"""Who reads a channel, and what its readers are told of it: a pure state machine without a clock.

Theory of operation. A channel of a namespace with presence "list" tells its readers who came (`joined`) and who went
(`left`), as long as it has at most `list_users` users; a larger one, and every channel with presence "count", tells
only how many there are (`count`). Nothing is told at once: `tick` tells the difference that remains since the last
tick, so that coming and going in between is never sent, however fast it is.

    listed, stays listed            joined and left, for each user whose being there changed
    listed, grew over list_users    one count: readers drop their list
    counted, stays counted          one count, if it changed
    counted, shrank to list_users   one count: readers who want the list ask for it, and joined and left follow

A snapshot (`count`, `users`) may be taken at any time. Somebody who came before it and left after it, within one tick,
would be in the snapshot and in no difference; so whoever had changed when a snapshot was taken is told about at the
next tick in any case. A reader may thus be told `joined` of somebody who is on its list already, which changes nothing.
What a snapshot and all later events say together is, after each tick, what a new snapshot says.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from chatd.config import Namespace
from protocol.messages import Count, Joined, Left
from protocol.names import ChannelName, UserId

OccupancyEvent = Joined | Left | Count


class _Room:
    """The users in one channel, and what changed since the last tick."""

    __slots__ = ("asked", "asked_for", "changed", "counted", "is_listed", "lists", "others", "users")

    def __init__(self, lists: bool) -> None:
        self.lists = lists  # the namespace's presence is "list"
        self.is_listed = lists  # every reader has a list: they were told so at the last tick, or got it since
        self.counted = 0  # how many users there were at the last tick
        self.users: dict[UserId, int] = {}  # how many sessions each has here
        self.others = 0  # users whose names are not known here
        self.changed: dict[UserId, bool] = {}  # whether they were here at the last tick or snapshot; only if listed
        self.asked = False  # a snapshot was taken since the last tick
        self.asked_for: dict[UserId, None] = {}  # who had changed when it was taken

    @property
    def size(self) -> int:
        """How many users there are."""
        return len(self.users) + self.others


class Occupancy:
    """The users of every subscribed channel whose namespace shows them."""

    def __init__(self, namespaces: Mapping[str, Namespace], list_users: int) -> None:
        self._rooms: dict[ChannelName, _Room] = {}
        self._dirty: dict[ChannelName, _Room] = {}
        self.reload(namespaces, list_users)

    def reload(self, namespaces: Mapping[str, Namespace], list_users: int) -> None:
        """Go on with another configuration. A channel in use keeps its kind of presence until it is empty."""
        self._modes: dict[str, Literal["none", "list", "count"]] = {
            name: namespace.presence if namespace.delivery == "subscribed" else "none"
            for name, namespace in namespaces.items()
        }
        self._list_users = list_users

    def enter(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user subscribed; each one needs its own `leave`."""
        room = self._rooms.get(channel) or self._room(channel)
        if room is None:
            return
        sessions = room.users.get(user, 0)
        room.users[user] = sessions + 1
        if not sessions:
            self._change(channel, room, user, was_here=False)

    def leave(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user is subscribed no more; one that never entered changes nothing."""
        room = self._rooms.get(channel)
        if room is None:
            return
        sessions = room.users.get(user, 0)
        if sessions > 1:
            room.users[user] = sessions - 1
        elif sessions:
            del room.users[user]
            self._change(channel, room, user, was_here=True)

    # Of a channel that is kept over many nodes (chatd/cluster/readership.py): each user has one entry here.

    def set_count(self, channel: ChannelName, count: int) -> None:
        """Note how many users there are, whose names are not known here: there are too many, or it only counts."""
        room = self._room(channel)
        if room is None or (room.others == count and not room.users):
            return
        if room.is_listed:  # whoever has a list drops it
            room.is_listed = False
            room.asked = True
        room.users.clear()
        room.changed.clear()
        room.others = count
        self._dirty[channel] = room

    def change(self, channel: ChannelName, came: Iterable[UserId], left: Iterable[UserId]) -> None:
        """Note who came and who left; those who were here, or were not, already change nothing."""
        room = self._room(channel)
        if room is None:
            return
        for user in came:
            if user not in room.users:
                self.enter(channel, user)
        for user in left:
            self.leave(channel, user)

    def load(
        self, channel: ChannelName, count: int, users: Collection[UserId] | None, news: Collection[UserId] | None
    ) -> None:
        """Note all who are there, or only how many. If nobody here has asked before, `news` are those to be told."""
        room = self._room(channel)
        if room is None:
            return
        if users is None:
            self.set_count(channel, count)
        else:
            if room.others:
                room.others = 0
                self._dirty[channel] = room
            here = set(users)
            self.change(channel, users, [user for user in room.users if user not in here])
        if news is not None:
            room.changed = {user: False for user in news if user in room.users}

    def is_named(self, channel: ChannelName) -> bool:
        """Tell whether the names of all who are there are known here."""
        room = self._rooms.get(channel)
        return room is None or not room.others

    def forget(self, channel: ChannelName) -> None:
        """Forget a channel that nobody reads here any more, without telling anything."""
        self._rooms.pop(channel, None)
        self._dirty.pop(channel, None)

    def count(self, channel: ChannelName) -> int:
        """Return how many users are in the channel."""
        room = self._rooms.get(channel)
        if room is None:
            return 0
        self._note_snapshot(channel, room)
        return room.size

    def users(self, channel: ChannelName) -> list[UserId] | None:
        """Return who is in the channel; None if it only counts, or has too many users for a list."""
        room = self._rooms.get(channel)
        if room is None:
            return [] if self._modes.get(channel.partition(":")[0]) == "list" else None
        if not room.lists:
            return None
        if room.others or room.size > self._list_users:
            # Whoever asked has no list to lay names over, so the next thing told must be a count.
            room.is_listed = False
            self._dirty[channel] = room
            return None
        self._note_snapshot(channel, room)
        return list(room.users)

    def tick(self) -> list[OccupancyEvent]:
        """Return what the readers of each changed channel are to be told, and begin a new difference."""
        events: list[OccupancyEvent] = []
        for channel, room in self._dirty.items():
            listable = room.lists and not room.others and room.size <= self._list_users
            if room.is_listed and listable:
                _tell_users(events, channel, room)
            elif room.is_listed != listable or room.asked or room.size != room.counted:
                events.append(Count(channel=channel, count=room.size))
            room.is_listed = listable
            room.counted = room.size
            room.changed.clear()
            room.asked_for.clear()
            room.asked = False
            if not room.size:
                del self._rooms[channel]
        self._dirty.clear()
        return events

    def _room(self, channel: ChannelName) -> _Room | None:
        """Return the channel's room, made now if there is none; None if its namespace shows nobody."""
        room = self._rooms.get(channel)
        if room is None:
            mode = self._modes.get(channel.partition(":")[0], "none")
            if mode != "none":
                room = self._rooms[channel] = _Room(mode == "list")
        return room

    def _change(self, channel: ChannelName, room: _Room, user: UserId, *, was_here: bool) -> None:
        self._dirty[channel] = room
        if room.is_listed:
            room.changed.setdefault(user, was_here)

    def _note_snapshot(self, channel: ChannelName, room: _Room) -> None:
        if channel in self._dirty:
            room.asked = True
            room.asked_for.update(dict.fromkeys(room.changed))
            room.changed.clear()


def _tell_users(events: list[OccupancyEvent], channel: ChannelName, room: _Room) -> None:
    told = list(room.asked_for)
    told += [
        user
        for user, was_here in room.changed.items()
        if user not in room.asked_for and was_here != (user in room.users)
    ]
    for user in told:
        event = Joined if user in room.users else Left
        events.append(event(channel=channel, user=user))
