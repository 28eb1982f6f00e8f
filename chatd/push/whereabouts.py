"""Where users are now: who looks at a session of theirs, and which devices have one."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from chatd.hub import Hub
from chatd.presence import Tracker
from protocol.names import DeviceId, UserId

Elsewhere = Callable[[Sequence[UserId]], Awaitable[Collection[UserId]]]
"""Returns which of these users have sessions on other nodes."""


class Whereabouts(Protocol):
    """Answers at the moment of asking; a session that opens right after is not known."""

    async def looking(self, users: Sequence[UserId]) -> Collection[UserId]:
        """Return those who have a session and have not said by `status` that they are away."""

    async def devices(self, users: Sequence[UserId]) -> Collection[tuple[UserId, DeviceId]]:
        """Return the devices of these users that have a session."""


class Nobody:
    """Implements `Whereabouts` for a process without sessions and without a way to ask for those of others."""

    async def looking(self, users: Sequence[UserId]) -> Collection[UserId]:
        """Nobody is here."""
        return ()

    async def devices(self, users: Sequence[UserId]) -> Collection[tuple[UserId, DeviceId]]:
        """Nobody is here."""
        return ()


class NodeWhereabouts:
    """Implements `Whereabouts` by this node's sessions, and by those of other nodes where there are some.

    Of sessions on other nodes only their user is known: a device of a user who is away there gets a push although it
    may have a session.
    """

    def __init__(self, hub: Hub, tracker: Tracker, elsewhere: Elsewhere | None) -> None:
        self._hub = hub
        self._tracker = tracker
        self._elsewhere = elsewhere

    async def looking(self, users: Sequence[UserId]) -> Collection[UserId]:
        """Return those who have a session and are not away."""
        here = self._hub.users
        connected = [user for user in users if user in here]
        if self._elsewhere is not None:
            rest = [user for user in users if user not in here]
            connected += await self._elsewhere(rest) if rest else ()
        if not connected:
            return ()
        return {state.user for state in await self._tracker.states(connected) if state.state == "online"}

    async def devices(self, users: Sequence[UserId]) -> Collection[tuple[UserId, DeviceId]]:
        """Return the devices with a session on this node."""
        found = [self._hub.users[user] for user in users if user in self._hub.users]
        return {
            (user.name, session.principal.device)
            for user in found
            for session in user.sessions
            if session.principal is not None
        }
