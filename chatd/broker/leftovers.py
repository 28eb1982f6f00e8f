"""Finishes what a dead node left in the write-ahead streams: any node does, within seconds.

Every node looks at the oldest entries of every shard. What is older than `broker.leftover_seconds` was placed by a node
that died, or whose store failed. Who takes a shard's lease goes on with its leftovers where their node stopped: store,
take off, tell the members' nodes. Doing that twice does no harm: a row is the same row, no seq is delivered twice.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import partial

import structlog
import trio

from chatd.broker import Draft
from chatd.broker.appending import Appender, Row
from chatd.broker.heads import Heads
from chatd.broker.record import read_record
from chatd.config import Broker
from chatd.redis import RedisError, RedisUnavailable
from chatd.redis.packing import pack
from chatd.redis.servers import Servers
from protocol.names import ChannelName, UserId
from storage import StoreError

Entry = tuple[bytes, list[bytes]]

_log = structlog.get_logger("broker")


class Leftovers:
    """Looks after the write-ahead streams of all shards."""

    def __init__(
        self,
        servers: Servers,
        heads: Heads,
        appender: Appender,
        config: Broker,
        audience: Callable[[ChannelName], Awaitable[Collection[UserId]]],
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.pending = 0
        """Entries of all shards when they were last looked at: what is just being stored, and leftovers."""
        self.finished = 0
        self._servers = servers
        self._heads = heads
        self._appender = appender
        self._config = config
        self._audience = audience
        self._clock = clock  # Unix seconds
        self._random = random
        self._found: list[tuple[int, list[Entry]]] = []
        self._counted = 0

    async def run(self) -> None:
        """Look at all shards again and again, until cancelled."""
        pause = self._config.leftover_seconds / 2
        while True:
            await trio.sleep(pause * (0.5 + self._random()))
            self._look()
            await trio.sleep(pause * 0.2)  # the answers are long there
            self.pending, self._counted = self._counted, 0
            found, self._found = self._found, []
            for shard, entries in found:
                try:
                    await self._finish(shard, entries)
                except (RedisError, StoreError) as error:
                    _log.warning("leftovers cannot be finished", shard=shard, error=str(error))
                except Exception:
                    _log.exception("leftovers could not be taken", shard=shard)

    def _look(self) -> None:
        """Ask every shard for its oldest entries, and how many there are, in one go."""
        older_than = int((self._clock() - self._config.leftover_seconds) * 1000)
        shards = self._servers.shards
        for shard in range(shards.count):
            wal = shards.key(shard, "wal")
            look = pack(("XRANGE", wal, "-", older_than, "COUNT", self._config.leftover_rows))
            try:
                self._servers.send(shard, look, partial(self._take, shard))
                self._servers.send(shard, pack(("XLEN", wal)), self._count)
            except RedisUnavailable:
                continue

    def _take(self, shard: int, answer: object) -> None:
        if isinstance(answer, list) and answer:
            self._found.append((shard, answer))

    def _count(self, answer: object) -> None:
        if isinstance(answer, int):
            self._counted += answer

    async def _finish(self, shard: int, entries: list[Entry]) -> None:
        """Go on with a shard's leftovers, unless another node does or they are under way here."""
        entries = [entry for entry in entries if (shard, entry[0]) not in self._appender.under_way]
        if not entries:
            return
        lease = self._servers.shards.key(shard, "leftovers")
        lease_ms = int(self._config.leftover_seconds * 1000)
        if await self._servers.call(shard, "SET", lease, "1", "NX", "PX", lease_ms) is None:
            return
        rows = [await self._row(wal, fields) for wal, fields in entries]
        self.finished += len(rows)
        _log.info("finishing what a node left", shard=shard, messages=len(rows))
        self._appender.finish(rows)

    async def _row(self, wal: bytes, fields: list[bytes]) -> Row:
        channel = ChannelName(fields[1].decode())
        head = await self._heads.open(channel)
        message, route = read_record(channel, fields[3])
        # A draft again, as if it had been placed here: so whoever tells others of what this node placed tells of it.
        draft = Draft(
            channel=channel,
            sender=message.sender,
            key=message.key,
            body=message.body,
            kind=message.kind,
            origin=route.origin,
            audience=await self._audience(channel) if head.namespace.delivery == "member" else (),
        )
        return None, message, draft, head, wal
