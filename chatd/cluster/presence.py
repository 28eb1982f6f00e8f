"""Presence over all nodes: the tracker of a node that shares Redis with others.

sessions here ──► Registry ──► Redis, which decides what is shown (presence_apply.lua) and tells all nodes
                                          │
hub (presence:USER) ◄── this node hears ──┘      grace times end in Redis too (presence_expire.lua), asked each tick

Who watches whom costs nothing outside of this node: every node hears every change, and gives it to the sessions here
that subscribed to `presence:USER`, if there are any.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import structlog
import trio

from chatd.cluster.leases import Leases
from chatd.cluster.readership import Readership
from chatd.cluster.registry import IDLE, IN_USE, NONE_LEFT, Registry
from chatd.cluster.steadily import steadily
from chatd.cluster.whereabouts import Change, Known, changes_key
from chatd.config import Namespace, Presence
from chatd.presence import Readers, Status
from chatd.presence.last_seen import LastSeen
from chatd.presence.tracker import PublishPresence
from chatd.redis import RedisError
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from protocol.messages import PresenceChanged, UserState
from protocol.names import ChannelName, UserId
from storage import Store, StoreUnavailable

SHOWN = {"o": "online", "a": "away", "-": "offline"}
"""What the letters in Redis mean."""

# Departures in one step of one part: a script of them takes Redis about a millisecond.
_SLICE = 200

_log = structlog.get_logger("presence")


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class _Here:
    """The sessions of one user on this node."""

    __slots__ = ("idle", "sessions", "sign")

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.idle: set[str] | None = None  # those that said they are away
        self.sign = NONE_LEFT


class ClusterPresence:
    """Presence of users and channels, over all nodes. See `chatd.presence.Tracker` for what it promises.

    While Redis is away, what changed here waits in the registry, and questions raise `StoreUnavailable`.
    """

    def __init__(
        self,
        config: Presence,
        servers: Servers,
        registry: Registry,
        leases: Leases,
        readership: Readership,
        store: Store,
        publish: PublishPresence,
        is_watched: Callable[[ChannelName], bool],
        *,
        unix_ms: Callable[[], int] = _unix_ms,
    ) -> None:
        self.on_departed: list[Callable[[UserState], None]] = []
        self._config = config
        self._servers = servers
        self._registry = registry
        self._leases = leases
        self._readership = readership
        self._publish = publish
        self._is_watched = is_watched
        self._unix_ms = unix_ms
        self._seen = LastSeen(store, config)
        self._users: dict[UserId, _Here] = {}
        self._expire = Script("presence_expire", 2)
        self._fails = False
        registry.whereabouts.on_changes.append(self._tell)

    def reload(self, config: Presence, namespaces: Mapping[str, Namespace]) -> None:
        """Go on with another configuration; the times of the loops count from their next turn."""
        self._config = config
        self._seen.config = config
        self._readership.reload(config, namespaces)

    # Called by the hub and by sessions.

    def session_opened(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user was connected."""
        self._seen.note(user, self._unix_ms())
        here = self._users.get(user)
        if here is None:
            here = self._users[user] = _Here()
        here.sessions.add(session_id)
        self._say(user, here)

    def session_closed(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user ended."""
        here = self._users.get(user)
        if here is None or session_id not in here.sessions:
            return
        self._seen.note(user, self._unix_ms())
        here.sessions.remove(session_id)
        if here.idle:
            here.idle.discard(session_id)
        self._say(user, here)
        if not here.sessions:
            del self._users[user]

    def status(self, user: UserId, session_id: str, status: Status) -> None:
        """Note whether the person at this session is there."""
        here = self._users.get(user)
        if here is None or session_id not in here.sessions:
            return
        if status == "away":
            here.idle = (here.idle or set()) | {session_id}
        elif here.idle:
            here.idle.discard(session_id)
        self._say(user, here)

    def channel_entered(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user subscribed to the channel."""
        self._readership.enter(channel, user)

    def channel_left(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user is subscribed to the channel no more."""
        self._readership.leave(channel, user)

    async def readers(self, channel: ChannelName) -> Readers:
        """Return who reads the channel, on all nodes."""
        try:
            return await self._readership.readers(channel)
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error

    async def states(self, users: Sequence[UserId]) -> list[UserState]:
        """Return the state of each of these users, in one round trip for those who are not remembered."""
        whereabouts = self._registry.whereabouts
        try:
            found = await whereabouts.find(users)
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error
        never = [user for user, known in found.items() if known.since is None]
        seen: Mapping[UserId, int] = {}
        if never:
            seen = await self._seen.load(never)
            for user in never:
                # Somebody may have come while the store was asked.
                found[user] = whereabouts.known(user) or found[user]
                if user in seen:
                    whereabouts.note_seen(user, seen[user])
        return [_state(user, found[user], seen.get(user)) for user in users]

    # The task.

    async def run(self) -> None:
        """Let grace times end, tell channels, and save last seen; until cancelled, then save once more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(steadily, self._tick_loop)
                nursery.start_soon(self._seen.run)
        finally:
            unix_ms = self._unix_ms()
            for user in self._users:
                self._seen.note(user, unix_ms)
            await self._seen.save_last()

    async def _tick_loop(self) -> None:
        while True:
            await trio.sleep(self._config.tick_seconds)
            try:
                await self._end_grace()
                await self._readership.tick()
            except RedisError as error:
                if not self._fails:
                    _log.warning("presence waits for redis", error=str(error))
                self._fails = True
            else:
                self._fails = False

    async def _end_grace(self) -> None:
        """Make offline whose grace time is over, in the parts that are this node's to look after."""
        key = self._servers.shards.key
        for part in range(self._registry.whereabouts.parts):
            if not self._leases.is_mine(part):
                continue
            arguments = (
                key(part, "users"),
                key(part, "leaving"),
                changes_key(self._servers, part),
                "SPUBLISH",
                _SLICE,
            )
            gone: list[bytes] = [b""] * 2 * _SLICE
            while len(gone) == 2 * _SLICE:
                gone = await self._servers.run_script(part, self._expire, arguments)
                for name, closed in zip(gone[::2], gone[1::2], strict=True):
                    self._note_departure(UserId(name.decode()), int(closed))

    def _note_departure(self, user: UserId, closed: int) -> None:
        self._seen.note(user, closed)
        departed = UserState(user=user, state="offline", last_seen=closed)
        for tell in self.on_departed:
            tell(departed)

    def _say(self, user: UserId, here: _Here) -> None:
        """Let the others know if it is something new."""
        if not here.sessions:
            sign = NONE_LEFT
        else:
            sign = IDLE if here.idle and len(here.idle) == len(here.sessions) else IN_USE
        if sign != here.sign:
            here.sign = sign
            self._registry.say(user, sign)

    def _tell(self, changes: Sequence[Change]) -> None:
        """Tell who watches here what changed anywhere."""
        for change in changes:
            if not change.is_told:
                continue
            channel = ChannelName(f"presence:{change.user}")
            if self._is_watched(channel):
                self._publish(
                    PresenceChanged(
                        channel=channel, user=change.user, state=SHOWN[change.shown], last_seen=change.since
                    )
                )


def _state(user: UserId, known: Known, seen: int | None) -> UserState:
    return UserState(user=user, state=SHOWN[known.shown], last_seen=known.since if known.since is not None else seen)
