"""Refresh tokens: which device, which generation, and a proof that this node's secret made them.

A token is `DEVICE.GENERATION.PROOF`. The proof depends on nothing else, so the token of a generation can be made again
for a client that lost the answer; and a token that was never issued is told from one that was used before, so that
nobody can have a device revoked by naming it.
"""

import base64
import hashlib
import hmac

import msgspec

from protocol.names import DeviceId, is_user_id

MAX_LENGTH = 256


class RefreshToken(msgspec.Struct, frozen=True):
    """What an authentic refresh token says."""

    device: DeviceId
    generation: int


class RefreshTokens:
    """Makes and reads refresh tokens."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"chatd refresh tokens", "sha256")

    def make(self, device: DeviceId, generation: int) -> str:
        """Return the token of this generation of a device, the same each time."""
        said = f"{device}.{generation}"
        return f"{said}.{self._proof(said)}"

    def read(self, token: str) -> RefreshToken | None:
        """Return what the token says; None if this node's secret did not make it."""
        if len(token) > MAX_LENGTH or not token.isascii():
            return None
        said, _, proof = token.rpartition(".")
        if not hmac.compare_digest(proof, self._proof(said)):
            return None
        device, _, generation = said.rpartition(".")
        return RefreshToken(DeviceId(device), int(generation)) if is_user_id(device) else None

    def _proof(self, said: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, said.encode(), "sha256")).rstrip(b"=").decode()


def hash_of(token: str) -> bytes:
    """Return what the store keeps instead of the token."""
    return hashlib.sha256(token.encode()).digest()
