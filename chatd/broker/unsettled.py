"""Says in Redis, for all nodes, that messages which a server may have forgotten are still on their way into the store.

A server whose process is another one may have lost the last places it gave out. Until the messages that have them are
stored, the store does not tell where a channel stands either; so nodes open no durable channel there meanwhile.
"""

from collections.abc import Collection

import trio

from chatd.broker.appending import Write
from chatd.config import Broker
from chatd.redis import RedisUnavailable
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers

_SETTLE = Script("settle", keys=1)

# How often it is said anew within the time that it holds.
_TIMES = 4


class Unsettled:
    """Looks at what this node's store is writing."""

    def __init__(self, servers: Servers, writes: Collection[Write], config: Broker) -> None:
        self._servers = servers
        self._writes = writes
        self._seconds = config.settle_seconds

    async def run(self) -> None:
        """Say it as long as it is so, until cancelled."""
        while self._seconds:
            await trio.sleep(self._seconds / _TIMES)
            self.say()

    def say(self) -> None:
        """Say it of every shard whose server is another process than when they were placed. Never waits."""
        servers = self._servers
        placed = {item for write in self._writes for item in write.runs.items()}
        for shard in {shard for shard, run in placed if servers.line(shard).run_id != run}:
            command = _SETTLE.whole_command((servers.shards.key(shard, "shard"), int(self._seconds * 1000)))
            try:
                servers.send(shard, command, _ignore)
            except RedisUnavailable:
                continue  # it is said when the connection is there


def _ignore(_: object) -> None:
    """Take the answer: it is said again, or need not be."""
