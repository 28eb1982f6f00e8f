"""Removes messages that their namespace no longer keeps, and guests who are gone, a little at a time."""

from collections.abc import Callable

import structlog
import trio

from chatd.config import Config, Namespace
from chatd.guests import Guests
from storage import Store, StoreError

_DAY_MS = 86_400_000

_log = structlog.get_logger("retention")


async def apply_retention(store: Store, config: Config, *, now: Callable[[], float]) -> None:
    """Remove once, from all namespaces, what is too old or too much. `now` tells Unix seconds.

    Steps are of `store.trim_rows` messages; between them other writers get their turn.

    Raises:
        StoreError: The store failed; what was removed until then stays removed.
    """
    for name, namespace in config.namespaces.items():
        if namespace.history != "none" and (namespace.retention_days or namespace.retention_messages):
            await _trim(store, name, namespace, config.store.trim_rows, int(now() * 1000))


async def _trim(store: Store, name: str, namespace: Namespace, rows: int, now_ms: int) -> None:
    older_than = now_ms - namespace.retention_days * _DAY_MS if namespace.retention_days else None
    keep = namespace.retention_messages or None
    total = 0
    while (removed := await store.trim(name, older_than=older_than, keep=keep, limit=rows)) > 0:
        total += removed
        await trio.lowlevel.checkpoint()
    if total:
        _log.info("old messages removed", namespace=name, messages=total)


async def retention_loop(store: Store, config: Callable[[], Config], *, now: Callable[[], float]) -> None:
    """Apply retention every `store.trim_seconds`, until cancelled. A failure is logged and tried again next time."""
    guests = Guests(store)
    while True:
        await trio.sleep(config().store.trim_seconds)
        try:
            await apply_retention(store, config(), now=now)
            await guests.trim(config(), int(now() * 1000))
        except StoreError as error:
            _log.warning("retention could not be applied", error=str(error))
