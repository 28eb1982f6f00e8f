"""Loops that a fault does not end: what goes wrong in one pass is logged, and the next one begins."""

from collections.abc import Awaitable, Callable

import structlog
import trio

_PAUSE_SECONDS = 1.0

_log = structlog.get_logger("cluster")


async def steadily(run: Callable[[], Awaitable[None]]) -> None:
    """Run something that ends only when it is cancelled, and begin it again when it fails."""
    while True:
        try:
            await run()
        except Exception:
            _log.exception("a part of the cluster failed", part=getattr(run, "__qualname__", str(run)))
        await trio.sleep(_PAUSE_SECONDS)
