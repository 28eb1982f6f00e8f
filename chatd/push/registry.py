"""Where users are, for a process that has no sessions itself: as the nodes' registry in Redis says."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from chatd.cluster.cluster import open_servers
from chatd.cluster.whereabouts import Whereabouts
from chatd.config import Config
from chatd.redis import RedisError
from chatd.redis.running import running
from protocol.names import DeviceId, UserId
from storage import StoreUnavailable

_ONLINE = "o"


class RegistryWhereabouts:
    """Implements `chatd.push.whereabouts.Whereabouts`. Of sessions only their user is known, not their device."""

    def __init__(self, registry: Whereabouts) -> None:
        self._registry = registry

    async def looking(self, users: Sequence[UserId]) -> Collection[UserId]:
        """Return those who have a session and are not away.

        Raises:
            StoreUnavailable: Redis cannot say it now.
        """
        try:
            found = await self._registry.find(users)
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error
        return {user for user, known in found.items() if known.nodes and known.shown == _ONLINE}

    async def devices(self, users: Sequence[UserId]) -> Collection[tuple[UserId, DeviceId]]:
        """Return nothing: the registry does not know devices."""
        return ()


@asynccontextmanager
async def open_registry(config: Config) -> AsyncIterator[RegistryWhereabouts]:
    """Connect to the registry.

    Raises:
        ConfigError: Redis' TLS files cannot be read.
        StoreUnavailable: Redis cannot be reached.
    """
    servers = open_servers(config)
    try:
        async with running(servers):
            yield RegistryWhereabouts(Whereabouts(servers, config.cluster.known_users))
    except RedisError as error:
        raise StoreUnavailable(f"Redis: {error}") from error
