"""Devices that somebody else revoked: the command line, or another process on the same store."""

from collections.abc import Callable

import structlog
import trio

from chatd.accounts.tokens import Tokens
from protocol.names import DeviceId
from storage import Store, StoreError

_log = structlog.get_logger("backend")

# What was revoked so long before the last look is looked at again: clocks differ, and writes take a moment.
_OVERLAP_MS = 60_000


class Revocations:
    """Reads every few seconds what was revoked since, and closes the sessions of it here."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        close: Callable[[DeviceId], None],
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._close = close
        self._seconds = seconds
        self._clock = clock  # Unix seconds

    async def run(self) -> None:
        """Look until cancelled."""
        since = self._now()
        is_failing = False
        while True:
            await trio.sleep(self._seconds)
            began = self._now()
            try:
                await self.look(since - _OVERLAP_MS)
            except StoreError as error:
                if not is_failing:
                    _log.warning("revoked devices cannot be read", error=str(error))
                is_failing = True
            else:
                since, is_failing = began, False

    async def look(self, since: int) -> None:
        """Refuse what was revoked since (Unix milliseconds) and is not refused yet."""
        for device in await self._store.revoked_since(since):
            if not self._tokens.is_revoked(device):
                self._tokens.revoke(device)
                self._close(device)

    def _now(self) -> int:
        return int(self._clock() * 1000)
