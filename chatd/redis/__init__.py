"""What a deployment of many nodes has in Redis, and how a node speaks to it.

    servers.py     all servers of a deployment: commands and scripts by shard, pub/sub by shard
    addresses.py   where servers are, as the configuration says it
    topology.py    which server a shard lives on: one, several, Redis Cluster, Sentinel
    shards.py      channel → shard → hash tag, and the names of keys
    line.py        one pipelined connection for commands
    subscriber.py  one connection for pub/sub
    running.py     the servers, while somebody who is no node is inside
    connect.py     opening a connection: TCP, TLS, who we are
    jobs.py        the queue of jobs of all nodes
    rates.py       rates and quotas that all nodes count together
    scripts.py     the Lua files of chatd/redis/lua

Redis 7.0 or newer is needed: sharded pub/sub, `XADD key 5-*`, `SET … NX GET`.

Errors:

    RedisError
    ├── RedisUnavailable   there is no answer, or the server is not ready; whether the command ran is in `ran`
    │   └── RedisBusy      `redis.waiting_calls` wait for answers already: nothing was sent
    └── RedisRefused       the server answered with an error: the command is wrong, or its data is
"""


class RedisError(Exception):
    """The root of what speaking to Redis raises."""


class RedisUnavailable(RedisError):
    """There is no answer. `ran` is False when the command certainly did not run."""

    def __init__(self, reason: str, *, ran: bool | None = None) -> None:
        super().__init__(reason)
        self.ran = ran  # None: nobody knows


class RedisBusy(RedisUnavailable):
    """Too many commands wait for their answers; this one was not sent."""

    def __init__(self) -> None:
        super().__init__("too much waits for Redis already", ran=False)


class RedisRefused(RedisError):
    """The server understood the command and answered with an error."""
