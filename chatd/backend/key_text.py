"""The text of an API key, `chatd_key_ID_SECRET`: what a backend shows, and what the store keeps of it.

The secret is 32 random bytes, so nobody can guess it from a hash, however fast that is: a keyed hash takes 2 µs where a
password's takes 30 ms. It is keyed with the deployment's secret, so that who can only write to the database cannot
make a key. The fixed beginning lets scanners find keys that were published by mistake.
"""

import base64
import hmac
import re
import secrets
from collections.abc import Callable

PREFIX = "chatd_key_"

_ID_BYTES = 10
_SECRET_BYTES = 32
_TEXT = re.compile(PREFIX + r"([a-z2-7]{16})_([A-Za-z0-9_-]{43})")


def is_key_text(text: str) -> bool:
    """Tell whether this is meant as an API key, and not as a token of a user."""
    return text.startswith(PREFIX)


def new_key(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> tuple[str, str]:
    """Return the id of a new key and its whole text, which nobody can make again."""
    key_id = base64.b32encode(random_bytes(_ID_BYTES)).decode().lower()
    secret = base64.urlsafe_b64encode(random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    return key_id, f"{PREFIX}{key_id}_{secret}"


def key_id_of(text: str) -> str | None:
    """Return the id that the text of a key names; None if it is malformed."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else None


class KeyHash:
    """Makes what the store keeps of a key, and compares."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"chatd api keys", "sha256")

    def of(self, text: str) -> bytes:
        """Return the hash of a key's whole text."""
        return hmac.digest(self._key, text.encode(), "sha256")

    def matches(self, text: str, kept: bytes) -> bool:
        """Tell whether the text is the one that the hash was made of, in the same time for every answer."""
        return hmac.compare_digest(self.of(text), kept)
