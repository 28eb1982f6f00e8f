"""Devices that somebody else revoked: the command line, or another process on the same store."""

from collections.abc import Callable

import structlog

from chatd.accounts.tokens import Tokens
from chatd.intervals import work_every
from protocol.names import DeviceId
from storage import Store

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
        self._since = 0  # Unix ms; what was revoked before is known

    async def run(self) -> None:
        """Look until cancelled."""
        self._since = self._now()
        await work_every(self._seconds, self._look_again, _log, "revoked devices cannot be read")

    async def _look_again(self) -> None:
        began = self._now()
        await self.look(self._since - _OVERLAP_MS)
        self._since = began

    async def look(self, since: int) -> None:
        """Refuse what was revoked since (Unix milliseconds) and is not refused yet."""
        for device in await self._store.revoked_since(since):
            if not self._tokens.is_revoked(device):
                self._tokens.revoke(device)
                self._close(device)

    def _now(self) -> int:
        return int(self._clock() * 1000)
