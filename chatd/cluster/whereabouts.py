"""What this node remembers of users: on which nodes they are, and what others are shown.

Theory of operation. Every change is told to all nodes, by the script that makes it, in pub/sub channels of which there
is one for each part (chatd/redis/lua/presence_apply.lua). So what was once read stays true for as long as the node
hears that channel: a change replaces what is remembered. When the channel is lost, its part is forgotten, and what is
read until it is heard again is used once and not kept.

A read and a change can cross: the answer may be older than a change that was heard while it was under way. Answers and
changes carry the part's version, and the newer one counts.

Cost: nothing in Redis for who watches whom. Each node takes each change of the cluster, a microsecond or two.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from chatd.cluster import PARTS, NodeId
from chatd.cluster.calls import call_all, raise_first
from chatd.redis import RedisUnavailable
from chatd.redis.servers import Servers
from protocol.names import UserId


class Known(msgspec.Struct, frozen=True, gc=False):
    """Where a user is, and what is shown: o (online), a (away), - (offline).

    `since` is when that began, for who is offline when the last session ended (Unix milliseconds); None if not known.
    """

    nodes: tuple[NodeId, ...]
    shown: str
    since: int | None


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What changed for one user; `is_told` if it changes what is shown."""

    user: UserId
    where: str
    shown: str
    since: int
    is_told: bool


class _Changes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    version: int
    changes: list[Change]


OnChanges = Callable[[Sequence[Change]], None]

ABSENT = Known((), "-", None)
_decode = msgspec.msgpack.Decoder(_Changes).decode


def changes_key(servers: Servers, part: int) -> str:
    """Name the pub/sub channel in which all nodes hear the changes of a part."""
    return servers.shards.key(part, "presence")


class _Part:
    """The users of one part. A `Listener` of its pub/sub channel."""

    def __init__(self, size: int, on_changes: OnChanges) -> None:
        self.known: dict[UserId, Known] = {}
        self.is_heard = False
        self.losses = 0  # how often the channel was lost
        self.asking: Counter[UserId] = Counter()  # how many reads of a user are under way
        self.crossed: dict[UserId, tuple[int, Known]] = {}  # the latest change of those, with its version
        self._size = size
        self._on_changes = on_changes

    def keep(self, user: UserId, known: Known) -> None:
        """Remember a user; the one remembered for the longest makes room."""
        self.known[user] = known
        if len(self.known) > self._size:
            del self.known[next(iter(self.known))]

    def subscribed(self) -> None:
        """Hear every change from now on."""
        self.is_heard = True

    def lost(self) -> None:
        """Forget everything: changes may pass unheard."""
        self.is_heard = False
        self.losses += 1
        self.known.clear()

    def heard(self, payload: bytes) -> None:
        """Take changes."""
        message = _decode(payload)
        known = self.known
        for change in message.changes:
            user = change.user
            if user in known:
                known[user] = _of_change(change)
            if user in self.asking:
                self.crossed[user] = (message.version, _of_change(change))
        self._on_changes(message.changes)


class Whereabouts:
    """Finds users, in memory or in Redis. Call `listen` once the servers are known."""

    def __init__(self, servers: Servers, known_users: int) -> None:
        self.parts = min(PARTS, servers.shards.count)
        self.on_changes: list[OnChanges] = []
        """Called with every change of the cluster, the own ones too; must not wait or raise."""
        self.lookups = 0  # users that Redis was asked for
        self._servers = servers
        size = max(1, known_users // self.parts)
        self._parts = [_Part(size, self._tell) for _ in range(self.parts)]

    def listen(self) -> None:
        """Hear changes from now on."""
        for number, part in enumerate(self._parts):
            self._servers.subscribe(number, changes_key(self._servers, number), part)

    def part(self, user: UserId) -> int:
        """Return the part, and the shard, of a user."""
        return self._servers.shards.of(user) % self.parts

    def known(self, user: UserId) -> Known | None:
        """Return what is remembered and true."""
        return self._parts[self.part(user)].known.get(user)

    def remembered(self) -> int:
        """Return how many users are remembered."""
        return sum(len(part.known) for part in self._parts)

    def note_seen(self, user: UserId, unix_ms: int) -> None:
        """Remember when a user who is offline was last there, as the store says."""
        part = self._parts[self.part(user)]
        known = part.known.get(user)
        if known is not None and known.shown == "-" and known.since is None:
            part.known[user] = Known((), "-", unix_ms)

    async def find(self, users: Iterable[UserId]) -> dict[UserId, Known]:
        """Return where users are, in one round trip for those who are not remembered; waits only for that.

        Raises:
            RedisUnavailable: It cannot be said now.
        """
        found: dict[UserId, Known] = {}
        missing: dict[int, list[UserId]] = {}
        for user in users:
            number = self.part(user)
            known = self._parts[number].known.get(user)
            if known is not None:
                found[user] = known
            else:
                missing.setdefault(number, []).append(user)
        if missing:
            found |= await self._read(missing)
        return found

    async def _read(self, missing: dict[int, list[UserId]]) -> dict[UserId, Known]:
        key = self._servers.shards.key
        losses = {number: self._parts[number].losses for number in missing}
        for number, users in missing.items():
            self._parts[number].asking.update(users)
            self.lookups += len(users)
        found: dict[UserId, Known] = {}
        try:
            calls = [(number, ("HMGET", key(number, "users"), "#", *users)) for number, users in missing.items()]
            answers = await call_all(self._servers, calls)
            raise_first(answers)
            for (number, users), answer in zip(missing.items(), answers, strict=True):
                part = self._parts[number]
                is_true = part.is_heard and part.losses == losses[number]
                found |= _take(part, users, answer, is_true)
        finally:
            for number, users in missing.items():
                part = self._parts[number]
                for user in users:
                    part.asking[user] -= 1
                    if part.asking[user] <= 0:
                        del part.asking[user]
                        part.crossed.pop(user, None)
        return found

    def _tell(self, changes: Sequence[Change]) -> None:
        for tell in self.on_changes:
            tell(changes)


def _take(part: _Part, users: list[UserId], answer: Any, is_true: bool) -> dict[UserId, Known]:
    """Read the answer for some users of a part, and keep what stays true."""
    if not isinstance(answer, list) or len(answer) != len(users) + 1:
        raise RedisUnavailable("the registry gave no answer that can be read")
    version = int(answer[0] or 0)
    found: dict[UserId, Known] = {}
    for user, entry in zip(users, answer[1:], strict=True):
        crossed = part.crossed.get(user)
        known = crossed[1] if crossed is not None and crossed[0] > version else _of_entry(entry)
        found[user] = known
        if is_true:
            part.keep(user, known)
    return found


def _of_entry(entry: bytes | None) -> Known:
    if entry is None:
        return ABSENT
    shown, since, _, where = entry.decode().split("|")
    return Known(_nodes(where), shown, int(since))


def _of_change(change: Change) -> Known:
    return Known(_nodes(change.where), change.shown, change.since)


def _nodes(where: str) -> tuple[NodeId, ...]:
    return tuple(NodeId(place.partition("=")[0]) for place in where.split(",")) if where else ()
