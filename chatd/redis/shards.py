"""Where things live: a name belongs to a shard, all keys of a shard have one hash tag, and a shard lives on one server.

A hash tag is what Redis Cluster takes for the whole key: `chatd:{s17}:log:room:a` and `chatd:{s17}:wal` are in one
slot, so that a script may touch both. The number of shards is fixed for a deployment's life: far above the number of
servers that one will ever have, so that shards spread evenly, and low enough to look at each shard once a second.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

_REMEMBERED_TAGS = 65536


class Shards:
    """Names the keys of a deployment."""

    def __init__(self, prefix: str, count: int) -> None:
        self.prefix = prefix
        self.count = count
        self._tags = [f"{prefix}{{s{shard}}}:" for shard in range(count)]

    def of(self, name: str) -> int:
        """Return the shard that a channel, a user or a node belongs to."""
        return crc32(name.encode()) % self.count

    def key(self, shard: int, name: str) -> str:
        """Return the key of this name in a shard, or the pub/sub channel of this name."""
        return self._tags[shard] + name

    def slot(self, shard: int) -> int:
        """Return the slot of Redis Cluster that a shard's keys are in."""
        return _slot(f"s{shard}")


def server_of(shard: int, servers: Sequence[str]) -> str:
    """Return which of several independent servers a shard lives on.

    Rendezvous hashing (Thaler and Ravishankar, 1998): each server draws a lot for the shard, the highest has it. One
    more or one less server moves only the shards that it has or gets; the order in the configuration means nothing.
    """
    return max(servers, key=lambda server: blake2b(f"{shard}@{server}".encode(), digest_size=8).digest())


@lru_cache(_REMEMBERED_TAGS)
def _slot(tag: str) -> int:
    """Return the slot of a hash tag: CRC16 (XMODEM) modulo 16384, as the Redis Cluster specification says."""
    crc = 0
    for byte in tag.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
    return (crc & 0xFFFF) % 16384
