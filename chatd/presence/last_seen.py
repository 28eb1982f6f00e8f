"""When users were last seen: gathered in memory, saved every few seconds in one write."""

from collections.abc import Iterable, Mapping

import structlog
import trio

from chatd.config import Presence
from protocol.names import UserId
from storage import Store, StoreError

# The last save must not hold up the end of the process if the store hangs.
_LAST_SAVE_SECONDS = 5.0

_log = structlog.get_logger("chatd.presence.tracker")


class LastSeen:
    """Saves and loads. A store that fails is logged once until it works again, and costs nothing but older times."""

    def __init__(self, store: Store, config: Presence) -> None:
        self.config = config
        self._store = store
        self._unsaved: dict[UserId, int] = {}
        self._fails = False

    def note(self, user: UserId, unix_ms: int) -> None:
        """Keep that a user was there at this time; the one noted for the longest makes room."""
        self._unsaved[user] = unix_ms
        if len(self._unsaved) > self.config.remembered_users:
            del self._unsaved[next(iter(self._unsaved))]

    async def load(self, users: Iterable[UserId]) -> Mapping[UserId, int]:
        """Return when users were last seen; empty if the store fails."""
        try:
            return await self._store.last_seen(list(users))
        except StoreError as error:
            self._note_failure("cannot read when users were last seen", error)
            return {}

    async def run(self) -> None:
        """Save what was noted every `last_seen_save_seconds`, until cancelled."""
        while True:
            await trio.sleep(self.config.last_seen_save_seconds)
            await self._save()

    async def save_last(self) -> None:
        """Save once more; not cancelled, but not for long either."""
        with trio.move_on_after(_LAST_SAVE_SECONDS, shield=True):
            await self._save()

    async def _save(self) -> None:
        if not self._unsaved:
            return
        seen = dict(self._unsaved)
        try:
            await self._store.save_last_seen(seen)
        except StoreError as error:
            self._note_failure("cannot save when users were last seen", error)
            return
        self._fails = False
        for user, unix_ms in seen.items():
            if self._unsaved.get(user) == unix_ms:
                del self._unsaved[user]

    def _note_failure(self, what: str, error: StoreError) -> None:
        if not self._fails:
            self._fails = True
            _log.warning(what, error=str(error))
