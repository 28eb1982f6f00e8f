"""The audit: who changed what by a key or a role, written before the change is answered."""

import secrets
from collections.abc import Callable

from chatd.backend.caller import Caller
from storage import Store
from storage.records import AuditRecord, audit_id


class Audit:
    """Writes what was done. A store that fails raises StoreError: the change was made, and its caller is told so."""

    def __init__(
        self, store: Store, clock: Callable[[], float], chance: Callable[[], int] = lambda: secrets.randbits(32)
    ) -> None:
        self._store = store
        self._clock = clock  # Unix seconds
        self._chance = chance

    async def note(self, caller: Caller, action: str, target: str, **details: object) -> None:
        """Keep that the caller did this to the target. Details are never secrets, nor bodies of messages."""
        at = int(self._clock() * 1000)
        record = AuditRecord(
            audit_id=audit_id(at, self._chance()),
            at=at,
            actor=caller.actor,
            action=action,
            target=target,
            details={name: str(value) for name, value in details.items()},
        )
        await self._store.add_audit([record])

    async def page(self, before: int | None, limit: int) -> list[AuditRecord]:
        """Return a page of what was done, the newest first."""
        return await self._store.audit(before=before, limit=limit)
