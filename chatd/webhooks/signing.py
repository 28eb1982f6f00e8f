"""Signatures of outgoing requests, by the Standard Webhooks specification 1.0.0 (standardwebhooks.com).

What is signed is `id.timestamp.body`. `v1` is HMAC-SHA256 with a secret that both sides know; `v1a` is Ed25519, whose
public key is no secret. During a rotation a request carries the signatures of the old and the new secret.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SYMMETRIC_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"

# The specification's bounds of a symmetric secret, and an Ed25519 seed alone or followed by its public key.
_LEAST_BYTES, _MOST_BYTES = 24, 64
_SEED_BYTES, _PAIR_BYTES = 32, 64


class SecretError(Exception):
    """The text is no secret that requests can be signed with. The message does not repeat it."""


class Key(Protocol):
    """Signs bytes."""

    def sign(self, data: bytes) -> str:
        """Return the signature with its version, as it stands in the header."""


class SymmetricKey:
    """HMAC-SHA256."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, data: bytes) -> str:
        """Return `v1,` and the signature."""
        return "v1," + base64.b64encode(hmac.digest(self._secret, data, hashlib.sha256)).decode()


class AsymmetricKey:
    """Ed25519."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The key that receivers verify with."""
        return PUBLIC_PREFIX + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> str:
        """Return `v1a,` and the signature."""
        return "v1a," + base64.b64encode(self._key.sign(data)).decode()


class Signer:
    """Makes the three headers of a request, with one signature for each key."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def headers(self, message_id: str, unix_seconds: int, body: bytes) -> dict[str, str]:
        """Return the headers of one attempt; the id stays the same for every attempt."""
        data = b"%b.%d.%b" % (message_id.encode(), unix_seconds, body)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(unix_seconds),
            "webhook-signature": " ".join(key.sign(data) for key in self._keys),
        }


def parse_key(text: str) -> SymmetricKey | AsymmetricKey:
    """Return the key of a secret as the specification writes it: `whsec_…` or `whsk_…`.

    Raises:
        SecretError: It is none.
    """
    if text.startswith(SYMMETRIC_PREFIX):
        secret = _decode(text.removeprefix(SYMMETRIC_PREFIX))
        if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
            raise SecretError(f"a {SYMMETRIC_PREFIX} secret has {_LEAST_BYTES} to {_MOST_BYTES} bytes")
        return SymmetricKey(secret)
    if text.startswith(PRIVATE_PREFIX):
        secret = _decode(text.removeprefix(PRIVATE_PREFIX))
        if len(secret) not in (_SEED_BYTES, _PAIR_BYTES):
            raise SecretError(f"a {PRIVATE_PREFIX} key is an Ed25519 key of {_SEED_BYTES} or {_PAIR_BYTES} bytes")
        return AsymmetricKey(secret[:_SEED_BYTES])
    raise SecretError(f"a secret begins with {SYMMETRIC_PREFIX} or {PRIVATE_PREFIX}")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError("what follows the prefix of a secret is base64") from None
