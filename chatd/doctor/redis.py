"""Whether the Redis servers can be reached, are new enough, and keep what nodes give them."""

import time

import coredis
from coredis.exceptions import RedisError as CoredisError

from chatd.config import Redis
from chatd.doctor import Finding, failure, ok, warning
from chatd.doctor.clock import judge_skew
from chatd.redis import RedisError
from chatd.redis.addresses import Address
from chatd.redis.connect import Dialer
from chatd.redis.shards import Shards
from chatd.redis.topology import Topology

_NAME = "chatd-doctor"
_NEARLY_FULL = 0.9

# What `INFO` answers; all of it is text or numbers.
Information = dict[str, object]


async def examine_redis(config: Redis) -> list[Finding]:
    """Ask every server that has a part of the channels."""
    try:
        dialer = Dialer(config, _NAME)
    except OSError as error:
        return [failure("redis", f"redis.tls: {error}", "name PEM files that the user of chatd may read")]
    topology = Topology(config, Shards(config.prefix, config.shards), dialer)
    try:
        await topology.refresh()
    except RedisError as error:
        return [failure("redis", str(error), f"start the servers, or set redis.servers (kind {config.kind!r})")]
    return [finding for address in topology.addresses() for finding in await _look(dialer, address)]


async def _look(dialer: Dialer, address: Address) -> list[Finding]:
    subject = f"redis {address}"
    try:
        greeted = await dialer.open(address)
        await greeted.stream.aclose()
        async with dialer.client(address) as client:
            information: Information = dict(await client.info())
            skew = await _skew(client)
            snapshots = await _snapshots(client)
    except (RedisError, CoredisError, OSError) as error:
        return [failure(subject, str(error), "start it, or set redis.servers, redis.password and redis.tls")]
    found = [
        *judge_eviction(subject, information),
        *judge_memory(subject, information),
        *judge_persistence(subject, information, snapshots=snapshots),
        *judge_skew(subject, skew),
    ]
    return found or [ok(subject, f"Redis {information['redis_version']}, keeps its data")]


async def _skew(client: coredis.Redis[str]) -> float:
    """Return by how many seconds the server's clock is ahead."""
    before = time.time()
    at = await client.time()
    return at.timestamp() - (before + time.time()) / 2


async def _snapshots(client: coredis.Redis[str]) -> bool:
    """Return whether the server writes snapshots by itself; a rented one may not say so, and is believed to."""
    try:
        answer = await client.config_get(["save"])
    except CoredisError:
        return True
    return bool(answer.get("save"))


def judge_eviction(subject: str, information: Information) -> list[Finding]:
    """Return a warning about a server that forgets keys when its memory is full."""
    policy = information.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    seen = f"maxmemory-policy is {policy}: when its memory is full it forgets places of channels and who is there"
    return [warning(subject, seen, "set maxmemory-policy to noeviction: then it refuses, and chatd says so")]


def judge_memory(subject: str, information: Information) -> list[Finding]:
    """Return a warning about a server that is nearly full."""
    used, most = _number(information, "used_memory"), _number(information, "maxmemory")
    if not most or used < most * _NEARLY_FULL:
        return []
    seen = f"{used / 2**20:,.0f} of {most / 2**20:,.0f} MiB are used"
    return [warning(subject, seen, "raise maxmemory, or add servers")]


def judge_persistence(subject: str, information: Information, *, snapshots: bool) -> list[Finding]:
    """Return a warning about a server that comes back without its data, or that cannot write it."""
    if _number(information, "aof_enabled"):
        if information.get("aof_last_write_status") == "ok":
            return []
        return [failure(subject, "its append-only file cannot be written", "look at its disk and its log")]
    if not snapshots:
        seen = "keeps nothing over a restart: messages that nobody has stored yet are lost with it"
        return [warning(subject, seen, "set appendonly yes")]
    if information.get("rdb_last_bgsave_status") != "ok":
        return [failure(subject, "its last snapshot failed, so it refuses writes", "look at its disk and its log")]
    seen = "keeps snapshots only: a crash loses what came after the last one"
    return [warning(subject, seen, "set appendonly yes")]


def _number(information: Information, name: str) -> float:
    value = information.get(name, 0)
    return float(value) if isinstance(value, int | float | str) else 0.0
