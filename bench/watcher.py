"""What one simulated client was told of the users whose presence it watches."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

Told = Mapping[str, Any]


class Seen(NamedTuple):
    """What watchers know, and how often they were told of a change since they were asked before."""

    right: int = 0  # states that are as they should be
    wrong: int = 0
    changes: int = 0  # events, whatever they said

    def __add__(self, other: object) -> "Seen":
        if not isinstance(other, Seen):
            return NotImplemented
        return Seen(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Watcher:
    """Follows users as a client does: subscribes to each, asks for all states once, and lays events over the answer."""

    __slots__ = ("_changes", "_states", "_users", "has_subscribed", "left")

    def __init__(self, users: Sequence[str]) -> None:
        self._users = users
        self._states: dict[str, str] = {}
        self._changes: Counter[str] = Counter()
        self.left = len(users)  # subscriptions without an answer
        self.has_subscribed = False

    def answered(self, users: Sequence[Told]) -> None:
        """Take the answer to the question for all states."""
        self._states = {one["user"]: one["state"] for one in users}

    def changed(self, event: Told) -> None:
        """Take an event."""
        self._states[event["user"]] = event["state"]
        self._changes[event["user"]] += 1

    def seen(self, gone: Collection[str]) -> Seen:
        """Compare what is known with who is really gone; everybody else is there."""
        right = sum(self._states.get(user) == ("offline" if user in gone else "online") for user in self._users)
        changes = self._changes.total()
        self._changes.clear()
        return Seen(right, len(self._users) - right, changes)
