"""Who is online: a pure state machine over the sessions of every user of this node.

Theory of operation. Each user is in one of five states. What happens to a user's sessions is boiled down to one of four
signs: at least one session is in use, all are idle, none is left, or none came back in time. `TRANSITIONS` says where
each sign leads; nothing else assigns a state. Others are shown three states only (`SHOWN`), and a change is reported
when what is shown changes. A user whose last session ended is shown as before until the grace time is over, so that a
reconnect is not seen by anybody.

Leaving users stand in a queue. The grace time is the same for all, so the first one in is the first one due, and
looking for who is due costs only as much as there is to report.
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import NamedTuple

from chatd.presence import Status
from protocol.messages import UserState
from protocol.names import UserId


class Moment(NamedTuple):
    """One moment on two clocks: a monotonic one for waiting, and the calendar's for telling people."""

    seconds: float
    unix_ms: int


class State(Enum):
    """Where a user is."""

    OFFLINE = 0
    ONLINE = 1
    AWAY = 2
    LEAVING_ONLINE = 3
    LEAVING_AWAY = 4


class Sign(Enum):
    """What a user's sessions, taken together, say."""

    IN_USE = 0
    IDLE = 1
    NONE_LEFT = 2
    LAPSED = 3


class Shown(StrEnum):
    """What others are told."""

    OFFLINE = "offline"
    ONLINE = "online"
    AWAY = "away"


TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.OFFLINE: {Sign.IN_USE: State.ONLINE},
    State.ONLINE: {Sign.IN_USE: State.ONLINE, Sign.IDLE: State.AWAY, Sign.NONE_LEFT: State.LEAVING_ONLINE},
    State.AWAY: {Sign.IN_USE: State.ONLINE, Sign.IDLE: State.AWAY, Sign.NONE_LEFT: State.LEAVING_AWAY},
    State.LEAVING_ONLINE: {Sign.IN_USE: State.ONLINE, Sign.LAPSED: State.OFFLINE},
    State.LEAVING_AWAY: {Sign.IN_USE: State.ONLINE, Sign.LAPSED: State.OFFLINE},
}

SHOWN = {
    State.OFFLINE: Shown.OFFLINE,
    State.ONLINE: Shown.ONLINE,
    State.AWAY: Shown.AWAY,
    State.LEAVING_ONLINE: Shown.ONLINE,
    State.LEAVING_AWAY: Shown.AWAY,
}


class _User:
    """A user who is not offline."""

    __slots__ = ("closed_at", "idle", "sessions", "since", "state")

    def __init__(self) -> None:
        self.state = State.OFFLINE
        self.sessions: set[str] = set()
        self.idle = 0  # how many of the sessions said they are away; see PresenceState._idle
        self.since = 0  # when what is shown began
        self.closed_at = 0  # when the last session ended


class PresenceState:
    """The presence of all users with sessions here, and of some who left.

    Promises: coming back within the grace time changes nothing that is shown; each departure is reported once. What
    `states` returned, with every change reported since laid over it, is what `states` returns now.
    """

    def __init__(self, grace_seconds: float, remembered_users: int) -> None:
        self.grace_seconds = grace_seconds
        self.remembered_users = remembered_users
        self._users: dict[UserId, _User] = {}
        self._idle: set[str] = set()  # sessions that said they are away
        self._leaving: OrderedDict[UserId, float] = OrderedDict()  # when their grace time ends, the earliest first
        self._offline: OrderedDict[UserId, int] = OrderedDict()  # when they were last seen, the latest used last

    def opened(self, user: UserId, session: str, now: Moment) -> UserState | None:
        """Note a new session, which is in use; return what others are to be told."""
        entry = self._users.get(user)
        if entry is None:
            entry = self._users[user] = _User()
            self._offline.pop(user, None)
        self._leaving.pop(user, None)
        entry.sessions.add(session)
        return self._apply(user, entry, _sign(entry), now.unix_ms)

    def closed(self, user: UserId, session: str, now: Moment) -> UserState | None:
        """Note that a session ended; one that is not known changes nothing."""
        entry = self._users.get(user)
        if entry is None or session not in entry.sessions:
            return None
        entry.sessions.remove(session)
        if session in self._idle:
            self._idle.remove(session)
            entry.idle -= 1
        if not entry.sessions:
            entry.closed_at = now.unix_ms
            self._leaving[user] = now.seconds + self.grace_seconds
        return self._apply(user, entry, _sign(entry), now.unix_ms)

    def status(self, user: UserId, session: str, status: Status, now: Moment) -> UserState | None:
        """Note what a session says of the person at it."""
        entry = self._users.get(user)
        if entry is None or session not in entry.sessions:
            return None
        if (status == "away") == (session in self._idle):
            return None
        if status == "away":
            self._idle.add(session)
            entry.idle += 1
        else:
            self._idle.remove(session)
            entry.idle -= 1
        return self._apply(user, entry, _sign(entry), now.unix_ms)

    def expire(self, now: Moment, limit: int) -> list[UserState]:
        """Make offline whose grace time is over, up to `limit` of them."""
        changes: list[UserState] = []
        while self._leaving and len(changes) < limit:
            user, due = next(iter(self._leaving.items()))
            if due > now.seconds:
                break
            del self._leaving[user]
            entry = self._users.pop(user)
            change = self._apply(user, entry, Sign.LAPSED, entry.closed_at)
            if change is not None:
                changes.append(change)
            self.remember(user, entry.closed_at)
        return changes

    def states(self, users: Iterable[UserId]) -> dict[UserId, UserState]:
        """Return what is shown of these users; those who are offline and not remembered are left out."""
        found = {}
        for user in users:
            entry = self._users.get(user)
            if entry is not None:
                found[user] = _shown(user, entry.state, entry.since)
            elif user in self._offline:
                self._offline.move_to_end(user)
                found[user] = _shown(user, State.OFFLINE, self._offline[user])
        return found

    def remember(self, user: UserId, last_seen: int) -> None:
        """Keep when a user was last seen who is offline; the one not asked for the longest makes room."""
        if user in self._users:
            return
        self._offline[user] = max(last_seen, self._offline.get(user, last_seen))
        self._offline.move_to_end(user)
        while len(self._offline) > self.remembered_users:
            self._offline.popitem(last=False)

    def present(self) -> list[UserId]:
        """Return the users who have a session."""
        return [user for user, entry in self._users.items() if entry.sessions]

    def _apply(self, user: UserId, entry: _User, sign: Sign, unix_ms: int) -> UserState | None:
        before = SHOWN[entry.state]
        entry.state = TRANSITIONS[entry.state][sign]
        if SHOWN[entry.state] is before:
            return None
        entry.since = unix_ms
        return _shown(user, entry.state, unix_ms)


def _sign(entry: _User) -> Sign:
    if not entry.sessions:
        return Sign.NONE_LEFT
    return Sign.IDLE if entry.idle == len(entry.sessions) else Sign.IN_USE


def _shown(user: UserId, state: State, last_seen: int) -> UserState:
    return UserState(user=user, state=SHOWN[state].value, last_seen=last_seen)
