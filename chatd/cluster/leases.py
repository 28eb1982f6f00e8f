"""Which nodes live. Each refreshes one entry; of those that do not, one other node clears up.

Theory of operation. A beat is one script: it renews the own lease, and returns the nodes whose lease is over and that
nobody has claimed yet. So exactly one node clears up after each; if it dies over that, its claim runs out and another
one goes on. While Redis stood still nobody could beat, and nobody is claimed for it (chatd/redis/lua/cluster_beat.lua).

A node that was taken for dead and is not learns of it by its next beat, or at once from the first script that it is
refused by. It begins a new incarnation, whose users and channels are said again.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from chatd.cluster import NodeId
from chatd.cluster.incarnation import Incarnation
from chatd.config import Cluster
from chatd.redis import RedisError
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers

SHARD = 0
"""Where the leases are."""

_log = structlog.get_logger("cluster")


def lease_keys(servers: Servers) -> tuple[str, str, str]:
    """Name the keys: leases, what nodes say of themselves, and lapsed nodes."""
    key = servers.shards.key
    return key(SHARD, "nodes"), key(SHARD, "nodes:info"), key(SHARD, "nodes:lapsed")


class Leases:
    """Keeps this node's lease, and knows who else has one."""

    def __init__(
        self,
        config: Cluster,
        servers: Servers,
        incarnation: Incarnation,
        describe: Callable[[], bytes],
        clear_up: Callable[[NodeId], Awaitable[None]],
    ) -> None:
        self.nodes: list[NodeId] = [incarnation.node]  # all that live, in one order everywhere
        self._config = config
        self._servers = servers
        self._incarnation = incarnation
        self._describe = describe
        self._clear_up = clear_up
        self._said: NodeId | None = None  # which incarnation has a lease
        self._claimed: list[NodeId] = []  # to be cleared up after
        self._has_left = False
        self._fails = False
        self._beat = Script("cluster_beat", 3)
        self._leave = Script("cluster_leave", 3)

    def is_mine(self, number: int) -> bool:
        """Tell whether this node is the one that does a work of the whole cluster which has this number.

        While nodes come or go, two may think so for a moment, or nobody: the work must bear that.
        """
        nodes = self.nodes
        return nodes[number % len(nodes)] == self._incarnation.node if nodes else False

    async def beat(self) -> list[NodeId]:
        """Renew the lease; return the nodes that this one is to clear up after.

        Raises:
            RedisError: It was not renewed, as far as is known.
        """
        node, config = self._incarnation.node, self._config
        arguments = (
            *lease_keys(self._servers),
            node,
            int(config.lease_seconds * 1000),
            int(config.heartbeat_seconds * 1000),
            int(config.claim_seconds * 1000),
            self._describe(),
            int(self._said != node),
        )
        is_alive, claimed, nodes = await self._servers.run_script(SHARD, self._beat, arguments)
        if not is_alive:
            if node == self._incarnation.node:
                self._incarnation.renew()
            return await self.beat()
        self._said = node
        self.nodes = sorted(NodeId(name.decode()) for name in nodes)
        return [NodeId(name.decode()) for name in claimed]

    async def start(self) -> None:
        """Take the first lease.

        Raises:
            RedisError: Redis does not answer.
        """
        self._claimed = await self.beat()

    async def run(self) -> None:
        """Beat, and clear up after others, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                claimed, self._claimed = self._claimed, []
                for node in claimed:
                    nursery.start_soon(self._finish, node)
                await trio.sleep(self._config.heartbeat_seconds)
                if self._has_left:
                    continue
                try:
                    self._claimed = await self.beat()
                except RedisError as error:
                    self._note(error)
                else:
                    self._note(None)

    async def leave(self) -> None:
        """End the lease, for good: others clear up at once.

        Raises:
            RedisError: They do when it has run out.
        """
        self._has_left = True
        arguments = (*lease_keys(self._servers), self._incarnation.node)
        await self._servers.run_script(SHARD, self._leave, arguments)

    async def _finish(self, node: NodeId) -> None:
        """Clear up after a node. What fails is begun again by who claims it next."""
        with trio.move_on_after(self._config.claim_seconds):
            try:
                await self._clear_up(node)
                await self._servers.call(SHARD, "ZREM", lease_keys(self._servers)[2], node)
            except RedisError as error:
                _log.warning("cannot clear up after a node yet", node=node, error=str(error))
                return
            except Exception:  # the others go on, and so does who claims it next
                _log.exception("cannot clear up after a node", node=node)
                return
            _log.info("cleared up after a node", node=node)

    def _note(self, error: RedisError | None) -> None:
        if error is not None and not self._fails:
            _log.warning("cannot renew the lease", error=str(error))
        self._fails = error is not None
