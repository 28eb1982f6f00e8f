"""Removes guests who were not seen for long: nobody can come back as one of them once its refresh token is over."""

import structlog

from chatd.config import Config
from storage import Store
from storage.records import UserRecord

_DAY_MS = 86_400_000

_log = structlog.get_logger("retention")


class Guests:
    """Goes through all accounts again and again, some at a time, so that other work gets its turn.

    A guest that belongs to a channel stays: its other members know it. What a guest wrote stays in any case.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: UserRecord | None = None

    async def trim(self, config: Config, now_ms: int) -> int:
        """Look at the next `store.trim_rows` accounts; return how many guests were removed.

        Raises:
            StoreError: The store failed; the same accounts are looked at again.
        """
        days = config.auth.guest_days
        if not days:
            return 0
        limit = config.store.trim_rows
        page = await self._store.users(after=self._last.user if self._last else None, limit=limit)
        since = now_ms - days * _DAY_MS
        older = [user for user in page if user.is_guest and user.created_at < since]
        seen = await self._store.last_seen([user.user for user in older]) if older else {}
        removed = 0
        for user in older:
            if seen.get(user.user, 0) < since and await self._is_left(user, since):
                await self._store.erase_user(user.user)
                removed += 1
        self._last = page[-1] if len(page) == limit else None
        if removed:
            _log.info("guests removed", guests=removed)
        return removed

    async def _is_left(self, user: UserRecord, since: int) -> bool:
        """Tell whether nobody uses the account: no device was seen since then, and no channel has it."""
        if any(device.seen_at >= since for device in await self._store.devices(user.user)):
            return False
        return not await self._store.memberships(user.user, since=0, limit=1)
