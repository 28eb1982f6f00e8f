"""The servers for somebody who is no node: connected for as long as one is inside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from chatd.redis.servers import Servers


@asynccontextmanager
async def running(servers: Servers) -> AsyncIterator[None]:
    """Connect, and stay connected while inside; what fails inside is raised as it is, never in a group.

    Raises:
        RedisError: Redis cannot be reached.
    """
    failure: Exception | None = None  # a nursery would wrap it in a group
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(servers.run)
            await servers.start()
            yield
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
