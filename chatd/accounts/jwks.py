"""Keys that an outside issuer publishes at a URL (RFC 7517): fetched when they are needed, kept while they are good."""

import math
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

import httpx
import jwt
import msgspec
import structlog
import trio

from chatd.accounts.keys import Key, usable_algorithms
from chatd.accounts.tokens import TokenError
from chatd.config import Auth
from protocol.codes import ErrorCode

FETCH_SECONDS = 5.0
MAX_BYTES = 262_144
MAX_KEYS = 100

_log = structlog.get_logger()


class JwksError(Exception):
    """What was fetched is no set of keys."""


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


class Jwks:
    """Finds keys by their id.

    A key that is known is found without waiting. When the set is old, or a token names a key that is not in it, one
    task fetches it again, at most every `jwks_refetch_seconds`; tokens of known keys do not wait for that, the others
    wait for the same fetch. Keys that are no longer published are refused after a fetch. When a fetch fails, the keys
    that are known stay good.
    """

    def __init__(self, config: Auth, clock: Callable[[], float], verify: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._clock = clock
        self._verify = verify or ssl.create_default_context()  # made once: reading the system's store takes long
        self._keys: dict[str | None, Key] = {}
        self._lock = trio.Lock()
        self._fresh_until = -math.inf
        self._next_fetch_at = -math.inf
        self._last_failed = False

    async def find(self, key_id: str | None) -> Key:
        """Return the key of this id; without an id, the only key.

        Raises:
            TokenError: No such key is published, or the keys could not be fetched.
        """
        key = self._keys.get(key_id)
        if self._is_due(key) and not (key is not None and self._lock.locked()):
            async with self._lock:
                key = self._keys.get(key_id)
                if self._is_due(key):
                    await self._fetch()
            key = self._keys.get(key_id)
        if key is not None:
            return key
        if self._last_failed:
            raise TokenError(ErrorCode.UNAVAILABLE, "the issuer's keys cannot be fetched now")
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's key is not one of the issuer's")

    def _is_due(self, key: Key | None) -> bool:
        now = self._clock()
        return (key is None or now >= self._fresh_until) and now >= self._next_fetch_at

    async def _fetch(self) -> None:
        self._next_fetch_at = self._clock() + self._config.jwks_refetch_seconds
        try:
            # Shielded: others wait for this fetch, and who goes away must not make the next one fetch again.
            with trio.fail_after(FETCH_SECONDS, shield=True):
                keys = self._read(await self._get())
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, trio.TooSlowError, JwksError) as error:
            self._last_failed = True
            _log.warning("the issuer's keys could not be fetched", url=self._config.jwks_url, error=repr(error))
            return
        self._keys = keys
        self._last_failed = False
        self._fresh_until = self._clock() + self._config.jwks_cache_seconds

    async def _get(self) -> bytes:
        """Return the body of the answer. Redirects are not followed: keys come from where the configuration says."""
        content = bytearray()
        async with (
            httpx.AsyncClient(verify=self._verify, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", self._config.jwks_url, headers={"Accept": "application/json"}) as response,
            aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes(16_384))) as parts,
        ):
            if response.status_code != 200:
                raise JwksError(f"status {response.status_code}")
            async for part in parts:
                content += part
                if len(content) > MAX_BYTES:
                    raise JwksError(f"more than {MAX_BYTES} bytes")
        return bytes(content)

    def _read(self, content: bytes) -> dict[str | None, Key]:
        try:
            published = msgspec.json.decode(content, type=_Set).keys
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise JwksError("no set of keys") from error
        keys: dict[str | None, Key] = {}
        for item in published[:MAX_KEYS]:
            key = self._usable(item)
            if key is not None:
                keys[item["kid"] if isinstance(item.get("kid"), str) else None] = key
        if not keys:
            raise JwksError("no usable key")
        if len(keys) == 1:
            keys[None] = next(iter(keys.values()))
        return keys

    def _usable(self, item: dict[str, Any]) -> Key | None:
        """Return the key if it is a public one for signatures of a configured algorithm; a set may have others."""
        if item.get("kty") == "oct" or item.get("use", "sig") != "sig":
            return None
        try:
            value = jwt.PyJWK(item).key
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        algorithms = usable_algorithms(value, self._config.algorithms)
        if "alg" in item:
            algorithms = tuple(name for name in algorithms if name == item["alg"])
        return Key(value, algorithms) if algorithms else None
