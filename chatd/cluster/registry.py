"""Which users are on this node, said to all others; and on which nodes any user is.

Theory of operation. A node says of a user one of three things: a session is in use, all are idle, none is left. What is
to be said gathers while the last batch is under way, and then goes to Redis together, one script for each part that it
touches; of several things said of a user the last one counts. So a user who comes costs one entry, however many
conversations the user has, and a storm of reconnects goes in large batches.

Everything said may be said again. When Redis is away it waits here, one entry for each user, and when the node began a
new incarnation or Redis lost its memory, everybody who is here is said anew.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

import structlog
import trio

from chatd.cluster import NodeId
from chatd.cluster.calls import run_all
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.whereabouts import Known, Whereabouts, changes_key
from chatd.config import Cluster
from chatd.redis import RedisError, RedisUnavailable
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from protocol.names import UserId

IN_USE, IDLE, NONE_LEFT = "o", "a", "-"

_PAUSE_SECONDS = 0.25

_log = structlog.get_logger("cluster")


class Registry:
    """Says who is here, and knows who is where."""

    def __init__(
        self,
        config: Cluster,
        servers: Servers,
        incarnation: Incarnation,
        grace_seconds: Callable[[], float],
    ) -> None:
        self.whereabouts = Whereabouts(servers, config.known_users)
        self.batches = 0
        self._config = config
        self._servers = servers
        self._incarnation = incarnation
        self._grace_seconds = grace_seconds
        self._here: dict[UserId, str] = {}  # what is to be known of who is here
        self._pending: dict[UserId, str] = {}  # what is still to be said, the later of two things
        self._writing: Collection[UserId] = ()  # who is being spoken of
        self._wake = trio.Event()
        self._written = trio.Event()  # replaced after each batch
        self._fails = False
        self._apply = Script("presence_apply", 4)
        incarnation.on_renewed.append(lambda _: self.say_all())

    # What is said.

    def say(self, user: UserId, sign: str) -> None:
        """Let all nodes know what this node's sessions of a user say, soon. Never waits."""
        if sign == NONE_LEFT:
            self._here.pop(user, None)
        else:
            self._here[user] = sign
        self._pending[user] = sign
        self._wake.set()

    def say_all(self) -> None:
        """Say of everybody who is here that it is so: nobody knows any more."""
        self._pending = dict(self._here)
        self._wake.set()

    async def settled(self, user: UserId) -> None:
        """Return when all that was said of a user is in Redis.

        From then on, who reads the registry after appending a message finds the user here; so a channel that is read
        afterwards has what was sent elsewhere before.

        Raises:
            RedisUnavailable: It is not, within `cluster.register_seconds`.
        """
        with trio.move_on_after(self._config.register_seconds):
            while user in self._pending or user in self._writing:
                await self.next_batch()
            return
        raise RedisUnavailable("the registry of sessions does not answer")

    async def next_batch(self) -> None:
        """Return when another batch went to Redis, or failed."""
        await self._written.wait()

    async def run(self) -> None:
        """Say what there is to say, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self._pending and not await self._write_batch():
                await trio.sleep(_PAUSE_SECONDS)
                self._wake.set()

    @property
    def waiting(self) -> int:
        """Of how many users something is still to be said."""
        return len(self._pending) + len(self._writing)

    async def _write_batch(self) -> bool:
        """Say everything that waits; tell whether it was taken. What was not waits on."""
        node = self._incarnation.node
        batch, self._pending = self._pending, {}
        self._writing = batch
        chunks = self._chunks(batch)
        error: RedisError | None = None
        try:
            answers = await run_all(
                self._servers,
                self._apply,
                [(part, self.arguments(part, node, users, batch)) for part, users in chunks],
            )
            is_dead = False
            for (_, users), answer in zip(chunks, answers, strict=True):
                if isinstance(answer, RedisError):
                    error = answer
                    for user in users:
                        self._pending.setdefault(user, batch[user])
                elif answer == 0:
                    is_dead = True
            self.batches += 1
        finally:
            self._writing = ()
            written, self._written = self._written, trio.Event()
            written.set()
        if is_dead and self._incarnation.node == node:
            self._incarnation.renew()
        elif self._incarnation.node != node:
            self.say_all()  # what failed was said of an incarnation that is over
        self._note(error)
        return error is None

    def arguments(
        self, part: int, node: NodeId, users: Iterable[UserId], signs: dict[UserId, str] | None
    ) -> list[str | int]:
        """Return what presence_apply.lua takes; without signs, somebody says that none of the dead node's is left."""
        key = self._servers.shards.key
        arguments: list[str | int] = [
            key(part, "users"),
            key(part, f"users:{node}"),
            key(part, "leaving"),
            key(part, f"dead:{node}"),
            node,
            int(self._grace_seconds() * 1000),
            changes_key(self._servers, part),
            "SPUBLISH",
            int(signs is None),
        ]
        for user in users:
            arguments += (user, signs[user] if signs is not None else NONE_LEFT)
        return arguments

    def _chunks(self, users: Iterable[UserId]) -> list[tuple[int, list[UserId]]]:
        """Group users by their part, and cut what is too much for one step."""
        by_part: defaultdict[int, list[UserId]] = defaultdict(list)
        for user in users:
            by_part[self.whereabouts.part(user)].append(user)
        size = self._config.batch_users
        return [
            (part, users[start : start + size])
            for part, users in by_part.items()
            for start in range(0, len(users), size)
        ]

    def _note(self, error: RedisError | None) -> None:
        if error is not None and not self._fails:
            _log.warning("cannot say who is here", error=str(error))
        self._fails = error is not None

    # What is known.

    async def nodes_of(self, users: Collection[UserId]) -> dict[NodeId, list[UserId]]:
        """Return the nodes that hold sessions of these users, each with those it holds; who is nowhere is in none.

        Called after a message got its place, it names every node whose user read the channel before that: the answer
        is at least as new as the call. What is remembered is used only after the reader of pub/sub had its turn, so
        that changes which Redis sent before are taken.

        Raises:
            RedisUnavailable: It cannot be said now.
        """
        known = self.whereabouts.known
        if all(known(user) is not None for user in users):
            # Two passes: in the first, trio may run the reader after this task.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        return by_node(await self.whereabouts.find(users))


def by_node(found: dict[UserId, Known]) -> dict[NodeId, list[UserId]]:
    """Turn users with their nodes into nodes with their users."""
    nodes: dict[NodeId, list[UserId]] = {}
    for user, known in found.items():
        for node in known.nodes:
            nodes.setdefault(node, []).append(user)
    return nodes
