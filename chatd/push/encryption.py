"""Encryption of Web Push messages: RFC 8291 over the content coding aes128gcm of RFC 8188, one record a message."""

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECORD_BYTES = 4096
"""The record size that is declared, and the most that a push service has to take (RFC 8030 section 7.2)."""

_SALT_BYTES = 16
_KEY_BYTES = 65
_AUTH_BYTES = 16
_HEADER_BYTES = _SALT_BYTES + 4 + 1 + _KEY_BYTES

LONGEST_BYTES = RECORD_BYTES - _HEADER_BYTES - 1 - 16
"""What fits beside the header, the delimiter of the last record and the tag: 3,993 bytes (RFC 8291 section 4)."""

NewKey = Callable[[], ec.EllipticCurvePrivateKey]


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def read_keys(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key of a browser.

    Raises:
        ValueError: It is no point of the curve, or `auth` is not 16 bytes.
    """
    if len(p256dh) != _KEY_BYTES:
        raise ValueError("`p256dh` is an uncompressed point of P-256, 65 bytes")
    if len(auth) != _AUTH_BYTES:
        raise ValueError("`auth` is 16 bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)


def encrypt(
    plain: bytes,
    p256dh: bytes,
    auth: bytes,
    new_key: NewKey = _new_key,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Encrypt a message for the browser that has the private half of `p256dh`.

    Raises:
        ValueError: The keys are no keys, or the message is longer than `LONGEST_BYTES`.
    """
    if len(plain) > LONGEST_BYTES:
        raise ValueError(f"a Web Push message has at most {LONGEST_BYTES} bytes")
    receiver = read_keys(p256dh, auth)
    own = new_key()
    public = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    salt = random_bytes(_SALT_BYTES)
    key, nonce = _derive(own.exchange(ec.ECDH(), receiver), auth, p256dh, public, salt)
    # 0x02 ends the last record (RFC 8188 section 2).
    sealed = AESGCM(key).encrypt(nonce, plain + b"\x02", None)
    return salt + RECORD_BYTES.to_bytes(4, "big") + bytes([_KEY_BYTES]) + public + sealed


def _derive(shared: bytes, auth: bytes, receiver: bytes, sender: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return the key and the nonce of the only record (RFC 8291 section 3.4)."""
    secret = _hkdf(auth, shared, b"WebPush: info\x00" + receiver + sender, 32)
    key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\x00", 16)
    return key, _hkdf(salt, secret, b"Content-Encoding: nonce\x00", 12)


def _hkdf(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(secret)
