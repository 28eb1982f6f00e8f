"""Where channels stand in Redis: brought there from the store, and whether what Redis says can be believed.

Theory of operation. A channel's log is a stream whose ids are EPOCH-SEQ. The epoch is a number, the millisecond in
which it began (or later), so that a later one is larger. A shard knows since when its server has lost nothing: `born`.

    the log is there, its epoch began after `born`   it is believed
    the log is there, its epoch is older             the server was restarted with data, which may be older than what it
                                                     had: compared with the store once by every node
    the log is not there, the store's newest row
    is younger than `born`                           it was forgotten in idleness, and all of it was stored: the epoch
                                                     goes on
    the log is not there otherwise                   new, or Redis lost its memory: a new epoch, 2^20 above the store's
                                                     newest row

So no place is given out twice, whatever Redis forgets.
"""

from collections.abc import Callable

import trio

from chatd.broker.log import REBIRTH_JUMP, Log
from chatd.broker.record import read_id
from chatd.config import Broker, Namespace
from chatd.redis import RedisUnavailable
from chatd.redis.packing import Template
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from protocol.names import ChannelName, Epoch, Seq
from storage import COPIED_AT, Store
from storage.records import Place

_LOOK = Script("look", keys=2)
_OPEN = Script("open", keys=1)

# How often opening is tried anew because another node opened at the same moment, or the store is still written to.
_ROUNDS = 16


class Head:
    """What a node knows of a channel that it lately used: where it lives, and its epoch. Others may number on."""

    __slots__ = (
        "channel",
        "epoch",
        "key",
        "namespace",
        "number",
        "refresh_at",
        "shard",
        "tag",
        "template",
        "unsaved",
        "version_key",
        "wal",
    )

    def __init__(self, channel: ChannelName, namespace: Namespace, shard: int, keys: tuple[str, str, str, str]) -> None:
        self.channel = channel
        self.namespace = namespace
        self.shard = shard
        self.tag, self.key, self.wal, self.version_key = keys
        self.template: Template | None = None  # of the command that appends, for this epoch
        self.epoch = Epoch("")
        self.number = ""  # the epoch as Redis is told it
        self.refresh_at = 0.0  # when the log must be told again to stay, on trio's clock
        self.unsaved: Log | None = None  # of a `recent` channel: what this node placed, until the store has it


class Heads:
    """The heads that a node knows; a bounded number of them, in two generations."""

    def __init__(
        self,
        servers: Servers,
        store: Store,
        config: Broker,
        rules: Callable[[ChannelName], Namespace],
    ) -> None:
        self.known: dict[ChannelName, Head] = {}
        self._older: dict[ChannelName, Head] = {}
        self._servers = servers
        self._store = store
        self._config = config
        self.rules = rules
        self._opening: dict[ChannelName, trio.Event] = {}
        self._copied_at = 0
        self._forget_ms = int(config.forget_seconds * 1000)
        self._settle_ms = int(config.settle_seconds * 1000)

    def __len__(self) -> int:
        return len(self.known) + len(self._older)

    async def start(self) -> None:
        """Find out whether the store is a backup: what came after it was made is not in it."""
        self._copied_at = int(await self._store.get_meta(COPIED_AT) or 0)

    def find(self, channel: ChannelName) -> Head | None:
        """Return the head if it is known. Never waits."""
        head = self.known.get(channel)
        if head is None and (head := self._older.pop(channel, None)) is not None:
            self._keep(head)
        return head

    def keep_seconds(self, head: Head, now: float) -> int:
        """Return for how many milliseconds the log must be kept from now on; 0 if it was said lately."""
        if now < head.refresh_at:
            return 0
        head.refresh_at = now + self._config.forget_seconds / 4
        return self._forget_ms

    def forget(self, channel: ChannelName) -> None:
        """Look again at the next use."""
        self.known.pop(channel, None)
        self._older.pop(channel, None)

    def forget_all(self) -> None:
        """Look again at everything: a server's process is another one."""
        self.known = {}
        self._older = {}

    async def open(self, channel: ChannelName) -> Head:
        """Return the head, looking in Redis and in the store if it is not known.

        Raises:
            RedisError: Redis cannot be asked.
            StoreError: The store cannot be asked.
        """
        while (head := self.find(channel)) is None:
            opening = self._opening.get(channel)
            if opening is not None:
                await opening.wait()
                continue
            done = self._opening[channel] = trio.Event()
            try:
                await self.look(channel)
            finally:
                del self._opening[channel]
                done.set()
        return head

    async def look(self, channel: ChannelName) -> tuple[Head, Seq]:
        """Return the head, and the seq of its newest message now. Raises as `open` does."""
        shards = self._servers.shards
        shard = shards.of(channel)
        namespace = self.rules(channel)
        names = "", f"log:{channel}", "wal", f"members:{channel}"
        tag, key, wal, version_key = (shards.key(shard, name) for name in names)
        head = Head(channel, namespace, shard, (tag, key, wal, version_key))
        for _ in range(_ROUNDS):
            run_id = self._servers.line(shard).run_id
            answer = await self._servers.run_script(
                shard, _LOOK, (head.key, shards.key(shard, "shard"), run_id, self._forget_ms, self._settle_ms)
            )
            born, now, settled = (int(number) for number in answer[:3])
            last = answer[3]
            born = max(born, self._copied_at)
            if not (last and int(last.partition(b"-")[0]) >= born):
                last = await self._decide(head, last, born, wait_ms=settled - now)
            if last:
                head.epoch, seq = read_id(last)
                head.number = head.epoch
                return self._take(head), seq
        raise RedisUnavailable(
            f"{channel} cannot be opened: other nodes do, or still store what Redis forgot", ran=False
        )

    async def _decide(self, head: Head, last: bytes, born: int, wait_ms: int) -> bytes:
        """Say where a channel goes on that Redis does not know, or may know wrongly; empty: look again.

        For what was placed before it forgot, and is not in the store yet, it waits first.
        """
        history = head.namespace.history
        if history == "durable" and wait_ms > 0:
            await trio.sleep(wait_ms / 1000)
            return b""  # it may have been said again
        stored = await self._store.head(head.channel) if history != "none" else None
        if last:
            epoch, seq = read_id(last)
            if history == "durable" and (stored is None or stored.seq <= seq):
                return last
            least, seq = f"+{int(epoch) + 1}", max(seq, stored.seq if stored else Seq(0))
            seq = Seq(seq + REBIRTH_JUMP if history != "none" else 0)
        elif stored is None:
            least, seq = "+1", Seq(0)
        elif history == "durable" and stored.at > born and stored.epoch.isdigit():
            least, seq = stored.epoch, stored.seq
        else:
            least, seq = f"+{_number(stored) + 1}", Seq(stored.seq + REBIRTH_JUMP)
        now = await self._servers.run_script(head.shard, _OPEN, (head.key, last, least, seq, self._forget_ms))
        # Another node was quicker, or another namespace's history began it: believe what is there only after a look.
        return bytes(now) if _is_as_asked(now, least, seq) else b""

    def _take(self, head: Head) -> Head:
        """Keep a head; what is known already is only corrected, for others hold it."""
        known = self.find(head.channel)
        if known is None or known.namespace is not head.namespace:
            self._keep(head)
            return head
        known.epoch, known.number, known.template = head.epoch, head.number, None
        return known

    def _keep(self, head: Head) -> None:
        if len(self.known) >= max(1, self._config.open_channels // 2):
            self._older, self.known = self.known, {}
        self.known[head.channel] = head


def _number(place: Place) -> int:
    """Return the epoch as a number; 0 for one that another kind of broker made."""
    return int(place.epoch) if place.epoch.isdigit() else 0


def _is_as_asked(now: bytes, least: str, seq: Seq) -> bool:
    epoch, stands = read_id(now)
    return stands == seq and (int(epoch) >= int(least) if least.startswith("+") else epoch == least)
