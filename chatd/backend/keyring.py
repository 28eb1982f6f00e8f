"""Making, rotating and revoking API keys: what the command line does on the store, and HTTP for administrators."""

import secrets
from collections.abc import Callable, Collection

import msgspec

from chatd.backend.actions import BackendAction
from chatd.backend.key_text import KeyHash, new_key
from chatd.backend.keys import last_used
from chatd.rights import Denied
from protocol.codes import ErrorCode
from storage import Store
from storage.records import ApiKeyRecord

TITLE_LENGTH = 64
MAX_NAMESPACES = 64


class Keyring:
    """Changes the keys in the store. The text of a key is returned once, when it is made, and kept nowhere."""

    def __init__(
        self,
        store: Store,
        key_hash: KeyHash,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._hash = key_hash
        self._clock = clock  # Unix seconds
        self._random_bytes = random_bytes

    async def all(self) -> list[ApiKeyRecord]:
        """Return every key, the oldest first, each with when it was last used."""
        return [await last_used(self._store, record) for record in await self._store.api_keys()]

    async def create(
        self, title: str, actions: Collection[str], namespaces: Collection[str], expires_at: int | None = None
    ) -> tuple[ApiKeyRecord, str]:
        """Make a key; return its record and its text. `expires_at` is in Unix milliseconds.

        Raises:
            Denied: A part of it is not as it should be.
        """
        self._check(title, actions, namespaces, expires_at)
        return await self._make(title, tuple(actions), tuple(namespaces), expires_at)

    async def rotate(self, key_id: str, overlap_seconds: float) -> tuple[ApiKeyRecord, str]:
        """Make a key with the rights of another, which ends after the overlap; until then both are good.

        The new key lives as long as the old one was made for, counted from now.

        Raises:
            Denied: There is no such key, or it is not valid any more.
        """
        old = await self._valid(key_id)
        now = self._now()
        lifetime = None if old.expires_at is None else now + old.expires_at - old.created_at
        made = await self._make(old.title, old.actions, old.namespaces, lifetime)
        ends = now + int(overlap_seconds * 1000)
        if old.expires_at is None or ends < old.expires_at:
            await self._store.put_api_key(msgspec.structs.replace(old, expires_at=ends))
        return made

    async def revoke(self, key_id: str) -> ApiKeyRecord:
        """End a key now; return its record. One that was revoked before stays as it is.

        Raises:
            Denied: There is no such key.
        """
        record = await self.find(key_id)
        if record.revoked_at is None:
            record = msgspec.structs.replace(record, revoked_at=self._now())
            await self._store.put_api_key(record)
        return record

    async def _make(
        self, title: str, actions: tuple[str, ...], namespaces: tuple[str, ...], expires_at: int | None
    ) -> tuple[ApiKeyRecord, str]:
        key_id, text = new_key(self._random_bytes)
        record = ApiKeyRecord(
            key_id=key_id,
            title=title,
            secret_hash=self._hash.of(text),
            actions=actions,
            namespaces=namespaces,
            created_at=self._now(),
            expires_at=expires_at,
        )
        await self._store.put_api_key(record)
        return record, text

    async def find(self, key_id: str) -> ApiKeyRecord:
        """Return the record of a key, valid or not.

        Raises:
            Denied: There is no such key.
        """
        record = await self._store.api_key(key_id)
        if record is None:
            raise Denied(ErrorCode.NOT_FOUND, "there is no such API key")
        return record

    async def _valid(self, key_id: str) -> ApiKeyRecord:
        record = await self.find(key_id)
        if record.revoked_at is not None or (record.expires_at is not None and record.expires_at <= self._now()):
            raise Denied(ErrorCode.REVOKED, "this key is not valid any more: make a new one")
        return record

    def _check(self, title: str, actions: Collection[str], namespaces: Collection[str], expires_at: int | None) -> None:
        if not 1 <= len(title) <= TITLE_LENGTH or not title.isprintable():
            raise Denied(ErrorCode.BAD_REQUEST, f"a key's title has 1 to {TITLE_LENGTH} characters that can be shown")
        known = {"*", *(action.value for action in BackendAction)}
        unknown = sorted(set(actions) - known)
        if not actions or unknown:
            raise Denied(ErrorCode.BAD_REQUEST, f"no such action: {unknown[0]}" if unknown else "name an action")
        if not 1 <= len(namespaces) <= MAX_NAMESPACES:
            raise Denied(ErrorCode.BAD_REQUEST, f"name 1 to {MAX_NAMESPACES} namespaces, or `*` for all")
        if expires_at is not None and expires_at <= self._now():
            raise Denied(ErrorCode.BAD_REQUEST, "the key would have expired already")

    def _now(self) -> int:
        return int(self._clock() * 1000)
