"""What can be seen of a cluster in Redis, by somebody who is no node of it."""

import time
from collections import Counter

import msgspec

from chatd.cluster import PARTS, NodeId
from chatd.cluster.calls import call_all, raise_first
from chatd.cluster.cluster import NodeInfo, read_info
from chatd.cluster.leases import SHARD, lease_keys
from chatd.redis.servers import Servers


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One node: for how long its lease goes on, and what it said of itself last (None if that cannot be read)."""

    node: NodeId
    lease_seconds: float
    info: NodeInfo | None


class ServerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One Redis server: how many shards it has, how long it takes to answer, and what waits for the store in them."""

    address: str
    shards: int
    answer_ms: float
    unwritten: int


class ClusterSeen(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `lapsed` are nodes that died and are not cleared up after yet; `users` are shown online or away."""

    nodes: list[NodeSeen]
    lapsed: list[NodeId]
    users: int
    leaving: int
    servers: list[ServerSeen]


async def survey(servers: Servers) -> ClusterSeen:
    """Look at everything once.

    Raises:
        RedisError: Redis does not answer.
    """
    leases, info, lapsed = lease_keys(servers)
    clock = await servers.call(SHARD, "TIME")
    now = int(clock[0]) * 1000 + int(clock[1]) / 1000
    scores = await servers.call(SHARD, "ZRANGE", leases, 0, -1, "WITHSCORES")
    said = await servers.call(SHARD, "HGETALL", info)
    infos = {NodeId(name.decode()): read_info(text) for name, text in zip(said[::2], said[1::2], strict=True)}
    nodes = [NodeId(name.decode()) for name in scores[::2]]
    parts = range(min(PARTS, servers.shards.count))
    key = servers.shards.key
    users = await call_all(servers, [(part, ("HLEN", key(part, "users"))) for part in parts])
    counted = await call_all(servers, [(part, ("HEXISTS", key(part, "users"), "#")) for part in parts])
    leaving = await call_all(servers, [(part, ("ZCARD", key(part, "leaving"))) for part in parts])
    raise_first([*users, *counted, *leaving])
    return ClusterSeen(
        nodes=[
            NodeSeen(node=node, lease_seconds=round((float(score) - now) / 1000, 1), info=infos.get(node))
            for node, score in sorted(zip(nodes, scores[1::2], strict=True))
        ],
        lapsed=[NodeId(name.decode()) for name in await servers.call(SHARD, "ZRANGE", lapsed, 0, -1)],
        users=sum(users) - sum(counted),  # one field of the hash is its version
        leaving=sum(leaving),
        servers=await _servers(servers),
    )


async def _servers(servers: Servers) -> list[ServerSeen]:
    shards = range(servers.shards.count)
    unwritten = await call_all(servers, [(shard, ("XLEN", servers.shards.key(shard, "wal"))) for shard in shards])
    raise_first(unwritten)
    first: dict[str, int] = {}
    counts: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for shard, entries in zip(shards, unwritten, strict=True):
        address = str(servers.line(shard).address)
        first.setdefault(address, shard)
        counts[address] += 1
        waiting[address] += entries
    found = []
    for address, shard in first.items():
        started = time.perf_counter()
        await servers.call(shard, "PING")
        answer_ms = round(1000 * (time.perf_counter() - started), 3)
        found.append(
            ServerSeen(address=address, shards=counts[address], answer_ms=answer_ms, unwritten=waiting[address])
        )
    return found
