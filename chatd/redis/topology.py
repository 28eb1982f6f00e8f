"""Which server each shard lives on, by the kind of the deployment.

    servers   the configured ones; several share the shards by consistent hashing
    cluster   what `CLUSTER SHARDS` says: the master of the shard's slot
    sentinel  the one that Sentinel says is the master

The last two are asked again whenever a server cannot be reached or says that it is not the right one.
"""

from collections.abc import Mapping

from chatd.config import Redis
from chatd.redis import RedisError, RedisUnavailable
from chatd.redis.addresses import Address, parse_address
from chatd.redis.connect import Dialer
from chatd.redis.shards import Shards, server_of


class Topology:
    """Knows the server of every shard. `known` is empty until `refresh` returned once."""

    def __init__(self, config: Redis, shards: Shards, dialer: Dialer) -> None:
        self.known: list[Address] = []
        self._config = config
        self._shards = shards
        self._dialer = dialer
        self._seeds = [parse_address(text) for text in config.servers]

    @property
    def changes(self) -> bool:
        """Whether a shard may move to another server while the deployment runs."""
        return self._config.kind != "servers"

    def addresses(self) -> list[Address]:
        """Return every server that has a shard, in the order of their first shards."""
        return list(dict.fromkeys(self.known))

    async def refresh(self) -> None:
        """Ask where the shards are now.

        Raises:
            RedisUnavailable: Nobody who was asked knows; what was known stays.
        """
        match self._config.kind:
            case "servers":
                by_name = dict(zip(self._config.servers, self._seeds, strict=True))
                names = [server_of(shard, self._config.servers) for shard in range(self._shards.count)]
                self.known = [by_name[name] for name in names]
            case "cluster":
                owners = await self._ask_cluster()
                self.known = [_owner(owners, self._shards.slot(shard)) for shard in range(self._shards.count)]
            case "sentinel":
                self.known = [await self._ask_sentinel()] * self._shards.count

    async def _ask_cluster(self) -> Mapping[range, Address]:
        """Return the masters by their slots; the first server that answers is believed."""
        from coredis.exceptions import RedisError as CoredisError  # only here: see Dialer.client

        reason = "no server is configured"
        for address in [*self.addresses(), *self._seeds]:
            try:
                async with self._dialer.client(address) as client:
                    slots = await client.cluster_slots()
            except (CoredisError, OSError, RedisError) as error:
                reason = f"{address}: {error}"
                continue
            owners = {}
            for (first, last), nodes in slots.items():
                master = next(node for node in nodes if node["server_type"] == "master")
                # A server that does not know its own address leaves it out: it is the one that was asked.
                owners[range(int(first), int(last) + 1)] = Address(
                    str(master["host"]) or address.host, int(master["port"])
                )
            return owners
        raise RedisUnavailable(f"no server of the cluster answers ({reason})", ran=False)

    async def _ask_sentinel(self) -> Address:
        from coredis.exceptions import RedisError as CoredisError  # only here: see Dialer.client

        name = self._config.sentinel_name
        reason = "no sentinel is configured"
        for address in self._seeds:
            try:
                async with self._dialer.client(address, is_sentinel=True) as client:
                    master = await client.sentinel_get_master_addr_by_name(name)
            except (CoredisError, OSError, RedisError) as error:
                reason = f"{address}: {error}"
                continue
            if master is None:
                reason = f"{address} watches nothing that is called {name}"
                continue
            host, port = master
            return Address(str(host), int(port))
        raise RedisUnavailable(f"no sentinel answers ({reason})", ran=False)


def _owner(owners: Mapping[range, Address], slot: int) -> Address:
    for slots, address in owners.items():
        if slot in slots:
            return address
    raise RedisUnavailable(f"nobody has slot {slot} of the cluster", ran=False)
