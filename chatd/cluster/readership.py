"""Who reads the channels that show it, over all nodes.

Theory of operation. What changes here gathers until the next tick; then it goes to Redis, one script for each channel
that changed (chatd/redis/lua/occupancy_apply.lua). It answers what that meant over all nodes, and which nodes have
readers of the channel. These are told by post, and each keeps the whole: the list of a channel that is small enough,
or the count. `Occupancy`, which keeps a single node's channels, keeps this whole too, so what clients are told is the
same: differences by tick, counts beyond a size.

Each answer carries the channel's version before and after. Who finds that it missed one reads the channel again; all
versions are compared with Redis every `cluster.recheck_seconds` too. So what is lost costs time, never truth.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
import structlog
import trio

from chatd.cluster import PARTS, NodeId
from chatd.cluster.calls import call_all, raise_first, run_all
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.post import Post, PostFull
from chatd.config import Cluster, Namespace, Presence
from chatd.presence import Readers
from chatd.presence.occupancy import Occupancy
from chatd.presence.tracker import PublishPresence
from chatd.redis import RedisError
from chatd.redis.packing import Argument
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from protocol.names import ChannelName, UserId

KIND = "readers"
"""What messages between nodes are about that tell what changed in channels."""

# Events told before other tasks get their turn; each may go to many sessions.
_SLICE = 100

_log = structlog.get_logger("presence")


class Update(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What changed in a channel, over all nodes. `came` and `left` are empty where it is too large for a list."""

    channel: ChannelName
    before: int
    version: int
    count: int
    came: list[UserId]
    left: list[UserId]


_decode = msgspec.msgpack.Decoder(list[Update]).decode
_encode = msgspec.msgpack.Encoder().encode


class Readership:
    """Says who reads here, and keeps who reads anywhere, of the channels that have readers here."""

    def __init__(
        self,
        config: Presence,
        cluster: Cluster,
        namespaces: Mapping[str, Namespace],
        servers: Servers,
        incarnation: Incarnation,
        post: Post,
        publish: PublishPresence,
    ) -> None:
        self._cluster = cluster
        self._servers = servers
        self._incarnation = incarnation
        self._post = post
        self._publish = publish
        self._parts = min(PARTS, servers.shards.count)
        self._whole = Occupancy(namespaces, config.list_users)  # over all nodes
        self._here: dict[ChannelName, dict[UserId, int]] = {}  # how many sessions each user has in it on this node
        self._dirty: defaultdict[ChannelName, dict[UserId, None]] = defaultdict(dict)  # who may have come or gone
        self._stale: set[ChannelName] = set()  # to be read again: this node does not know it, or missed something
        self._versions: dict[ChannelName, int] = {}  # of the channels that are known
        self._lock = trio.Lock()  # what is said of a channel and what is answered must not overtake each other
        self._checked = trio.current_time()
        self._apply = Script("occupancy_apply", 5)
        self.reload(config, namespaces)
        incarnation.on_renewed.append(lambda _: self.say_all())
        post.handle(KIND, self._take_post)
        post.on_lost.append(lambda _: self._stale.update(self._here))

    def reload(self, config: Presence, namespaces: Mapping[str, Namespace]) -> None:
        """Go on with another configuration. A channel in use keeps its kind of presence until it is empty."""
        self._list_users = config.list_users
        self._shown = {
            name: namespace.presence
            for name, namespace in namespaces.items()
            if namespace.presence != "none" and namespace.delivery == "subscribed"
        }
        self._whole.reload(namespaces, config.list_users)

    # Here.

    def enter(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user subscribed; each one needs its own `leave`. Never waits."""
        here = self._here.get(channel)
        if here is None:
            if channel.partition(":")[0] not in self._shown:
                return
            here = self._here[channel] = {}
            self._stale.add(channel)
        sessions = here.get(user, 0)
        here[user] = sessions + 1
        if not sessions:
            self._dirty[channel][user] = None

    def leave(self, channel: ChannelName, user: UserId) -> None:
        """Note that a session of this user is subscribed no more; one that never entered changes nothing."""
        here = self._here.get(channel)
        sessions = here.get(user, 0) if here is not None else 0
        if here is None or not sessions:
            return
        if sessions > 1:
            here[user] = sessions - 1
            return
        del here[user]
        self._dirty[channel][user] = None
        if not here:
            del self._here[channel]
            self._stale.discard(channel)
            self._versions.pop(channel, None)
            self._whole.forget(channel)

    def say_all(self) -> None:
        """Say of everybody who reads here that it is so: nobody knows any more."""
        for channel, here in self._here.items():
            self._dirty[channel] = dict.fromkeys(here)
        self._stale.update(self._here)

    # Everywhere.

    async def readers(self, channel: ChannelName) -> Readers:
        """Return who reads the channel. Waits only if that is not known, or was not said yet, here.

        Raises:
            RedisError: It cannot be said now.
        """
        if channel not in self._here:
            [answer] = await run_all(self._servers, self._apply, [self._call(channel, (), wants_list=True)])
            raise_first([answer])
            count, users = int(answer[2]), [UserId(user.decode()) for user in answer[6]]
            return Readers(count, users if 0 <= count <= self._most(channel) else None)
        if channel in self._dirty or channel in self._stale:
            async with self._lock:
                await self._say([channel])
        return Readers(self._whole.count(channel), self._whole.users(channel))

    async def tick(self) -> None:
        """Say what changed here, and tell the readers here what changed anywhere.

        Raises:
            RedisError: It waits here until the next tick.
        """
        try:
            await self._recheck()
            async with self._lock:
                await self._say(list(self._dirty.keys() | self._stale))
        finally:
            for number, event in enumerate(self._whole.tick(), 1):
                self._publish(event)
                if number % _SLICE == 0:
                    await trio.lowlevel.checkpoint()

    async def clear_up(self, node: NodeId) -> None:
        """Let everybody leave who read channels on a dead node.

        Raises:
            RedisError: Some are left; doing it again goes on.
        """
        for part in range(self._parts):
            key = self._servers.shards.key(part, f"reading:{node}")
            while items := await self._servers.call(part, "SRANDMEMBER", key, self._cluster.batch_users):
                by_channel: defaultdict[ChannelName, list[str]] = defaultdict(list)
                for item in items:
                    channel, _, user = item.decode().partition(" ")
                    by_channel[ChannelName(channel)].append(f"-{user}")
                calls = [self._call(channel, changes, dead=node) for channel, changes in by_channel.items()]
                answers = await run_all(self._servers, self._apply, calls)
                self._spread(dict(zip(by_channel, answers, strict=True)))
                raise_first(answers)

    async def _say(self, channels: Collection[ChannelName]) -> None:
        """Say what changed here in these channels, and take what it means everywhere."""
        calls, said, asked = [], [], []
        for channel in channels:
            here = self._here.get(channel, {})
            changed = list(self._dirty.pop(channel, ()))
            wants_list = channel in self._stale
            self._stale.discard(channel)
            size = self._cluster.batch_users
            chunks = [changed[start : start + size] for start in range(0, len(changed), size)] or [[]]
            for number, chunk in enumerate(chunks, 1):
                is_last = number == len(chunks)
                changes = [f"+{user}" if user in here else f"-{user}" for user in chunk]
                calls.append(self._call(channel, changes, wants_list=wants_list and is_last))
                said.append((channel, chunk))
                asked.append(wants_list and is_last)
        node = self._incarnation.node
        answers = await run_all(self._servers, self._apply, calls)
        for (channel, chunk), wants_list, answer in zip(said, asked, answers, strict=True):
            if isinstance(answer, RedisError):
                self._say_again(channel, chunk)
            elif answer != 0:
                if wants_list:
                    self._learn(channel, answer)
                self._spread({channel: answer})
        if 0 in answers and self._incarnation.node == node:
            self._incarnation.renew()
        raise_first(answers)

    def _say_again(self, channel: ChannelName, users: Iterable[UserId]) -> None:
        self._dirty[channel] |= dict.fromkeys(users)
        if channel in self._here:
            self._stale.add(channel)

    def _call(
        self,
        channel: ChannelName,
        changes: Collection[str],
        *,
        dead: NodeId | None = None,
        wants_list: bool = False,
    ) -> tuple[int, list[Argument]]:
        """Return the part of a channel, and what occupancy_apply.lua takes."""
        part = self._servers.shards.of(channel) % self._parts
        key = self._servers.shards.key
        node = dead or self._incarnation.node
        arguments: list[Argument] = [
            key(part, "readers"),
            key(part, f"reading:{node}"),
            key(part, f"dead:{node}"),
            key(part, f"readers:{channel}"),
            key(part, f"readers:nodes:{channel}"),
            node,
            int(dead is not None),
            channel,
            self._most(channel),
            int(wants_list),
            *changes,
        ]
        return part, arguments

    def _most(self, channel: ChannelName) -> int:
        return self._list_users if self._shown.get(channel.partition(":")[0]) == "list" else -1

    # What others are told, and tell.

    def _spread(self, answers: Mapping[ChannelName, Any]) -> None:
        """Take what Redis answered, and tell the other nodes that have readers of the channels."""
        by_node: defaultdict[NodeId, list[Update]] = defaultdict(list)
        for channel, answer in answers.items():
            if isinstance(answer, RedisError) or answer == 0:
                continue
            before, version, count, came, left, nodes, _ = answer
            if before == version:
                continue
            update = Update(channel, int(before), int(version), count, _names(came), _names(left))
            self._take(update)
            for name in nodes:
                by_node[NodeId(name.decode())].append(update)
        by_node.pop(self._incarnation.node, None)
        for node, updates in by_node.items():
            try:
                self._post.send(node, KIND, _encode(updates))
            except PostFull:  # they see from the next version, or when they compare, that they missed something
                _log.warning("a node is not told who reads channels", node=node)

    def _take_post(self, sender: NodeId, payload: bytes) -> None:
        for update in _decode(payload):
            self._take(update)

    def _take(self, update: Update) -> None:
        """Take over a change of a channel that has readers here."""
        channel = update.channel
        if channel not in self._here:
            return
        version = self._versions.get(channel)
        if version is None:
            self._stale.add(channel)
        elif update.version <= version:
            return
        elif update.count > self._most(channel):
            self._versions[channel] = update.version
            self._whole.set_count(channel, update.count)
        elif update.before != version or not self._whole.is_named(channel):
            self._stale.add(channel)
        else:
            self._versions[channel] = update.version
            self._whole.change(channel, update.came, update.left)

    def _learn(self, channel: ChannelName, answer: Any) -> None:
        """Take over the whole of a channel."""
        _, version, count, came, _, _, users = answer
        if channel not in self._here or int(version) < self._versions.get(channel, 0):
            return
        news = None if channel in self._versions else _names(came)
        self._versions[channel] = int(version)
        self._whole.load(channel, count, _names(users) if count <= self._most(channel) else None, news)

    async def _recheck(self) -> None:
        """Compare all versions with Redis, now and then."""
        now = trio.current_time()
        if now < self._checked + self._cluster.recheck_seconds:
            return
        self._checked = now
        by_part: defaultdict[int, list[ChannelName]] = defaultdict(list)
        for channel in self._versions:
            by_part[self._servers.shards.of(channel) % self._parts].append(channel)
        size = self._cluster.batch_users
        asked = [
            (part, channels[start : start + size])
            for part, channels in by_part.items()
            for start in range(0, len(channels), size)
        ]
        key = self._servers.shards.key
        answers = await call_all(
            self._servers, [(part, ("HMGET", key(part, "readers"), *channels)) for part, channels in asked]
        )
        raise_first(answers)
        for (_, channels), versions in zip(asked, answers, strict=True):
            for channel, version in zip(channels, versions, strict=True):
                # A post may have been quicker than this answer: only what is behind Redis is read again.
                if channel in self._here and int(version or 0) > self._versions.get(channel, 0):
                    self._stale.add(channel)


def _names(names: Iterable[bytes]) -> list[UserId]:
    return [UserId(name.decode()) for name in names]
