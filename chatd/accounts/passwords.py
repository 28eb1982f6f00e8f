"""Passwords: checked for sense, hashed with argon2id in a few threads behind a short line."""

import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from chatd.accounts.errors import AccountError
from chatd.config import Auth
from protocol.codes import ErrorCode

BUSY_SECONDS = 1.0

_T = TypeVar("_T")


class Passwords:
    """Hashes and verifies passwords, a few at a time.

    Every method that waits raises AccountError with UNAVAILABLE when the line is full. Cancelling leaves the thread to
    finish its hash.
    """

    def __init__(self, config: Auth) -> None:
        self._min_length = config.password_min_length
        self._max_length = config.password_max_length
        self._hasher = PasswordHasher(time_cost=config.hash_passes, memory_cost=config.hash_memory_kib, parallelism=1)
        self._limiter = trio.CapacityLimiter(config.hash_threads)
        self._max_waiting = config.hash_waiting
        self._nobodys_hash = ""

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            AccountError: It is too short, too long or no Unicode text, or too many wait for a hash already.
        """
        text = _normal(password)
        if text is None or not self._min_length <= len(password) <= self._max_length:
            raise AccountError(
                ErrorCode.BAD_REQUEST, f"a password has {self._min_length} to {self._max_length} characters"
            )
        return await self._in_thread(lambda: self._hasher.hash(text))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether it is the right password. Without a hash (no such account) the work is the same, the answer no.

        Raises:
            AccountError: Too many wait for a hash already.
        """
        text = _normal(password)
        if text is None or len(password) > self._max_length:
            return False
        right = await self._in_thread(lambda: self._verify(password_hash or self._hash_of_nobody(), text))
        return right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other memory or passes than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, text: bytes) -> bool:
        try:
            return self._hasher.verify(password_hash, text)
        except (Argon2Error, InvalidHashError):
            return False

    def _hash_of_nobody(self) -> str:
        """Return a hash that no password has; made on first use, because making it takes as long as a login."""
        if not self._nobodys_hash:
            self._nobodys_hash = self._hasher.hash(secrets.token_bytes(16))
        return self._nobodys_hash

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._limiter.statistics().tasks_waiting >= self._max_waiting:
            raise AccountError(ErrorCode.UNAVAILABLE, "too many logins at the same time", BUSY_SECONDS)
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


def _normal(password: str) -> bytes | None:
    """Return the bytes to hash: the same for every way of writing the same characters (NIST SP 800-63B 5.1.1.2)."""
    try:
        return unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:
        return None
