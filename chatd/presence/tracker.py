"""The task that keeps presence: it feeds the two state machines with time, tells what changed, and saves last seen.

hub ── session_opened … channel_left ──► PresenceTracker ── publish ──► hub (presence:USER, and the channel itself)
                                                │
                                                └── every few seconds ──► store (last seen)
"""

import time
from collections.abc import Callable, Mapping, Sequence

import trio

from chatd.config import Namespace, Presence
from chatd.presence import Readers, Status
from chatd.presence.last_seen import LastSeen
from chatd.presence.occupancy import Occupancy, OccupancyEvent
from chatd.presence.state import Moment, PresenceState
from protocol.messages import PresenceChanged, UserState
from protocol.names import ChannelName, UserId
from storage import Store

PresenceEvent = PresenceChanged | OccupancyEvent
PublishPresence = Callable[[PresenceEvent], None]
"""Takes an event to the readers of its channel; never waits and never raises."""

# Events published in one go before other tasks get their turn; each may go to many sessions.
_SLICE = 100


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class PresenceTracker:
    """Presence of users, and of channels, on this node.

    The hub calls the plain methods, which never wait; they may call `publish` before they return. A store that fails
    is logged once until it works again, and costs nothing but older times of last seen.
    """

    def __init__(
        self,
        config: Presence,
        namespaces: Mapping[str, Namespace],
        store: Store,
        publish: PublishPresence,
        *,
        unix_ms: Callable[[], int] = _unix_ms,
    ) -> None:
        self._config = config
        self._seen = LastSeen(store, config)
        self._publish = publish
        self._unix_ms = unix_ms
        self._state = PresenceState(config.grace_seconds, config.remembered_users)
        self._occupancy = Occupancy(namespaces, config.list_users)
        self.on_departed: list[Callable[[UserState], None]] = []

    def reload(self, config: Presence, namespaces: Mapping[str, Namespace]) -> None:
        """Go on with another configuration; the times of the loops count from their next turn."""
        self._config = config
        self._seen.config = config
        self._state.grace_seconds = config.grace_seconds
        self._state.remembered_users = config.remembered_users
        self._occupancy.reload(namespaces, config.list_users)

    # Called by the hub and by sessions.

    def session_opened(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user was connected."""
        now = self._now()
        self._seen.note(user, now.unix_ms)
        self._tell_state(self._state.opened(user, session_id, now))

    def session_closed(self, user: UserId, session_id: str) -> None:
        """Note that a session of this user ended."""
        now = self._now()
        self._seen.note(user, now.unix_ms)
        self._tell_state(self._state.closed(user, session_id, now))

    def status(self, user: UserId, session_id: str, status: Status) -> None:
        """Note whether the person at this session is there."""
        self._tell_state(self._state.status(user, session_id, status, self._now()))

    def channel_entered(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user subscribed to the channel."""
        self._occupancy.enter(channel, user)

    def channel_left(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user is subscribed to the channel no more."""
        self._occupancy.leave(channel, user)

    async def readers(self, channel: ChannelName) -> Readers:
        """Return who reads the channel. Never waits."""
        return Readers(self._occupancy.count(channel), self._occupancy.users(channel))

    async def states(self, users: Sequence[UserId]) -> list[UserState]:
        """Return the state of each of these users; the store is asked for those not in memory.

        Nothing waits when all are in memory, as users with a session here are: what is told later carries on from the
        answer.
        """
        missing = set(users) - self._state.states(users).keys()
        loaded = await self._seen.load(missing) if missing else {}
        for user, last_seen in loaded.items():
            self._state.remember(user, last_seen)
        # Read again: somebody may have come while the store was asked.
        states = self._state.states(users)
        return [states.get(user) or UserState(user=user, state="offline", last_seen=loaded.get(user)) for user in users]

    # The task.

    async def run(self) -> None:
        """Tell what time brings and save, until cancelled; then save once more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_loop)
                nursery.start_soon(self._seen.run)
        finally:
            unix_ms = self._unix_ms()
            for user in self._state.present():
                self._seen.note(user, unix_ms)
            await self._seen.save_last()

    async def _tick_loop(self) -> None:
        while True:
            await trio.sleep(self._config.tick_seconds)
            await self._expire()
            await self._tell_channels()

    async def _expire(self) -> None:
        # Each slice is published before anybody else runs: a user who comes back is told about at once, and an
        # `offline` from before must not come after that.
        while changes := self._state.expire(self._now(), _SLICE):
            for change in changes:
                self._publish(_changed(change))
                for tell in self.on_departed:
                    tell(change)
            await trio.lowlevel.checkpoint()

    async def _tell_channels(self) -> None:
        # What changes between two slices is told at the next tick, so the order stays right.
        for number, event in enumerate(self._occupancy.tick(), 1):
            self._publish(event)
            if number % _SLICE == 0:
                await trio.lowlevel.checkpoint()

    def _tell_state(self, change: UserState | None) -> None:
        if change is not None:
            self._publish(_changed(change))

    def _now(self) -> Moment:
        return Moment(trio.current_time(), self._unix_ms())


def _changed(change: UserState) -> PresenceChanged:
    return PresenceChanged(
        channel=ChannelName(f"presence:{change.user}"),
        user=change.user,
        state=change.state,
        last_seen=change.last_seen,
    )
