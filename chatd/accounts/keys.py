"""Keys that an outside issuer's tokens are verified with, each bound to the algorithms it is good for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from chatd.config import ConfigError

MIN_RSA_BITS = 2048
# RFC 7518 section 3.2: as long as the hash, at least.
MIN_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}


class Key(msgspec.Struct, frozen=True):
    """A key, and the algorithms of the configuration that it can be used with."""

    value: Any
    algorithms: tuple[str, ...]


class Keys(Protocol):
    """Finds the key of a token."""

    async def find(self, key_id: str | None) -> Key:
        """Return the key of this id (None: the token names none).

        Raises:
            TokenError: There is none, or it cannot be had now.
        """


class KeyFile:
    """The one key in a file: a public key or certificate (PEM), or the shared secret of HS algorithms."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"auth.key_file: {path}: {error.strerror or error}") from error
        shared = [name for name in algorithms if name in MIN_SECRET_BYTES]
        if shared and len(shared) < len(algorithms):
            raise ConfigError("auth.algorithms: one key cannot be both public and a shared secret")
        self._key = _shared_secret(path, content, shared) if shared else _public_key(path, content, algorithms)

    async def find(self, key_id: str | None) -> Key:
        """Return the key, whatever the token calls it."""
        return self._key


def usable_algorithms(key: object, algorithms: Sequence[str]) -> tuple[str, ...]:
    """Return those algorithms that a public key is of the right kind and size for."""
    fitting: tuple[str, ...] = ()
    match key:
        case RSAPublicKey() if key.key_size >= MIN_RSA_BITS:
            fitting = ("RS256", "RS384", "RS512", "PS256")
        case EllipticCurvePublicKey(curve=SECP256R1()):
            fitting = ("ES256",)
        case EllipticCurvePublicKey(curve=SECP384R1()):
            fitting = ("ES384",)
        case Ed25519PublicKey() | Ed448PublicKey():
            fitting = ("EdDSA",)
    return tuple(name for name in algorithms if name in fitting)


def _shared_secret(path: Path, content: bytes, algorithms: Sequence[str]) -> Key:
    secret = content.strip()
    needed = max(MIN_SECRET_BYTES[name] for name in algorithms)
    if len(secret) < needed:
        raise ConfigError(f"auth.key_file: {path}: a shared secret for {algorithms[0]} has at least {needed} bytes")
    try:
        jwt.get_algorithm_by_name(algorithms[0]).prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise ConfigError(f"auth.key_file: {path}: a public key is no shared secret") from error
    return Key(secret, tuple(algorithms))


def _public_key(path: Path, content: bytes, algorithms: Sequence[str]) -> Key:
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            key: object = load_pem_x509_certificate(content).public_key()
        else:
            key = load_pem_public_key(content)
    except ValueError as error:
        raise ConfigError(f"auth.key_file: {path}: is no public key or certificate in PEM") from error
    usable = usable_algorithms(key, algorithms)
    if len(usable) < len(algorithms):
        unusable = ", ".join(name for name in algorithms if name not in usable)
        raise ConfigError(f"auth.key_file: {path}: the key is of the wrong kind or too small for {unusable}")
    return Key(key, usable)
