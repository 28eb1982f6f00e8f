"""The API keys that are in force: a small table in memory, read from the store again every few seconds.

Other nodes and the command line change keys in the store; this node knows it after `backend.key_refresh_seconds`, and
what it changes itself at once. A key is verified without asking the store, so a request costs it nothing.
"""

from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog
import trio

from chatd.accounts.tokens import TokenError
from chatd.backend.caller import Caller, caller_of_key
from chatd.backend.key_text import KeyHash, key_id_of
from chatd.config import Backend
from chatd.limits import TokenBucket
from protocol.codes import ErrorCode
from storage import Store, StoreError
from storage.records import ApiKeyRecord

_log = structlog.get_logger("keys")

# A key that is not known may have been made a moment ago; the store is asked for such at most this often, so that who
# tries any keys cannot load it. Keys that others make are made by hand or a few at a time.
_LOOKS_PER_SECOND = 5.0
_LOOKS_AT_ONCE = 20


class ApiKeys:
    """Verifies keys. `on_ended` is called with the id of each key that has just stopped being valid."""

    def __init__(self, store: Store, key_hash: KeyHash, config: Backend, clock: Callable[[], float]) -> None:
        self._store = store
        self._hash = key_hash
        self._config = config
        self._clock = clock  # Unix seconds
        self._known: dict[str, tuple[ApiKeyRecord, Caller]] = {}
        self._used: dict[str, int] = {}  # not saved yet; Unix milliseconds
        self._ended: set[str] = set()  # of which that was told
        self._looks = TokenBucket(_LOOKS_PER_SECOND, _LOOKS_AT_ONCE)
        self._store_fails = False
        self.on_ended: list[Callable[[str], None]] = []

    # Its life.

    async def start(self) -> None:
        """Load the keys, before the first one is verified."""
        for record in await self._store.api_keys():
            self.take(record)

    async def run(self) -> None:
        """Read the keys again every few seconds, and save when each was used last, until cancelled."""
        try:
            while True:
                await trio.sleep(self._config.key_refresh_seconds)
                await self.refresh()
        finally:
            with trio.move_on_after(self._config.key_refresh_seconds, shield=True), suppress(StoreError):
                await self._save_used()

    async def refresh(self) -> None:
        """Take over what others changed. A store that fails leaves everything as it was."""
        try:
            records = {record.key_id: record for record in await self._store.api_keys()}
            await self._save_used()
        except StoreError as error:
            if not self._store_fails:
                _log.warning("API keys cannot be read again", error=str(error))
            self._store_fails = True
            return
        self._store_fails = False
        for record in records.values():
            self.take(record)
        now = self._now()
        for key_id, (record, _) in list(self._known.items()):
            if key_id not in records:
                del self._known[key_id]
            if key_id not in records or why_invalid(record, now) is not None:
                self._end(key_id)

    def take(self, record: ApiKeyRecord) -> None:
        """Know a key, or know it better."""
        known = self._known.get(record.key_id)
        if known is not None and known[0] == record:
            return
        self._known[record.key_id] = (record, caller_of_key(record))
        if why_invalid(record, self._now()) is not None:
            self._end(record.key_id)

    async def _save_used(self) -> None:
        used, self._used = self._used, {}
        for key_id, at in used.items():
            # Beside the record, not in it: writing the record could undo a revocation by another process.
            await self._store.put_meta(_used_name(key_id), str(at))

    def _end(self, key_id: str) -> None:
        if key_id in self._ended:
            return
        self._ended.add(key_id)
        for call in self.on_ended:
            call(key_id)

    # Verifying.

    def known_caller(self, text: str) -> Caller | None:
        """Return what a key may do that is known and valid; None for all others. Never waits."""
        key_id = key_id_of(text)
        known = self._known.get(key_id) if key_id is not None else None
        if known is None or not self._hash.matches(text, known[0].secret_hash):
            return None
        now = self._now()
        if why_invalid(known[0], now) is not None:
            return None
        self._used[known[0].key_id] = now
        return known[1]

    async def verify(self, text: str) -> Caller:
        """Return what the key may do. Asks the store only for an id that it does not know.

        Raises:
            TokenError: It is malformed, unknown, wrong, revoked or expired.
        """
        caller = self.known_caller(text)
        if caller is not None:
            return caller
        key_id = key_id_of(text)
        if key_id is None:
            raise TokenError(ErrorCode.BAD_TOKEN, "the API key is malformed")
        if key_id not in self._known:
            await self._look_for(key_id)
            caller = self.known_caller(text)
            if caller is not None:
                return caller
        known = self._known.get(key_id)
        if known is None or not self._hash.matches(text, known[0].secret_hash):
            raise TokenError(ErrorCode.BAD_TOKEN, "there is no such API key")
        code, reason = why_invalid(known[0], self._now()) or (ErrorCode.BAD_TOKEN, "there is no such API key")
        raise TokenError(code, reason)

    def expires_at(self, key_id: str) -> int | None:
        """Return when a key ends, in Unix seconds; None if it does not."""
        known = self._known.get(key_id)
        return None if known is None or known[0].expires_at is None else known[0].expires_at // 1000

    def last_used(self, key_id: str) -> int | None:
        """Return when a key was used since that was last saved."""
        return self._used.get(key_id)

    async def _look_for(self, key_id: str) -> None:
        if self._looks.take(self._clock()):
            return
        record = await self._store.api_key(key_id)
        if record is not None:
            self.take(record)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def why_invalid(record: ApiKeyRecord, now: int) -> tuple[ErrorCode, str] | None:
    """Return why a key does not count at this time (Unix milliseconds); None if it does."""
    if record.revoked_at is not None:
        return ErrorCode.REVOKED, "the API key was revoked"
    if record.expires_at is not None and record.expires_at <= now:
        return ErrorCode.TOKEN_EXPIRED, "the API key has expired"
    return None


async def last_used(store: Store, record: ApiKeyRecord) -> ApiKeyRecord:
    """Return the record with when the key was last used."""
    saved = await store.get_meta(_used_name(record.key_id))
    if saved is None:
        return record
    return msgspec.structs.replace(record, last_used_at=int(saved))


def _used_name(key_id: str) -> str:
    return f"api_key_used:{key_id}"
