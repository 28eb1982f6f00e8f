"""The token that chatd shows Apple: a JWT signed with the team's key (ES256), made anew in the time that Apple allows.

Apple refuses tokens older than an hour, and new ones more often than every 20 minutes:
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

RENEW_SECONDS = 40 * 60
"""Halfway between the 20 minutes before which Apple refuses a new token and the 60 after which it refuses the old."""

_EARLIEST_SECONDS = 20 * 60


class ApnsToken:
    """Keeps the token, and makes the next one in time."""

    def __init__(self, key: EllipticCurvePrivateKey, key_id: str, team_id: str, clock: Callable[[], float]) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock  # Unix seconds
        self._made_at = float("-inf")
        self._header = b""

    def header(self) -> bytes:
        """Return the value of the `authorization` header."""
        now = self._clock()
        # A clock that was put back would make tokens of the future, which Apple refuses.
        if not 0 <= now - self._made_at < RENEW_SECONDS:
            self._make(now)
        return self._header

    def refused(self, header: bytes) -> bool:
        """Make a new token because Apple says that this one has expired; False if it is too early for a new one."""
        if header != self._header:
            return True  # somebody else has made it already
        now = self._clock()
        if 0 <= now - self._made_at < _EARLIEST_SECONDS:
            return False
        self._make(now)
        return True

    def _make(self, now: float) -> None:
        self._made_at = now
        claims = {"iss": self._team_id, "iat": int(now)}
        token = jwt.encode(claims, self._key, "ES256", headers={"kid": self._key_id, "typ": None})
        self._header = b"bearer " + token.encode()
