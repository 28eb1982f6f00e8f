"""How chatd says to push services of browsers who it is: VAPID (RFC 8292), a signed JWT for each."""

import base64
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from chatd.config import ConfigError

# "An `exp` claim MUST NOT be more than 24 hours" ahead (RFC 8292 section 2); half of it leaves room for wrong clocks.
_GOOD_SECONDS = 12 * 3600
_RENEW_SECONDS = 6 * 3600

# Hosts whose header is kept: there are a handful of push services.
_KEPT = 256


class Vapid:
    """Signs for each push service, and keeps what it signed for a while."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, subject: str, clock: Callable[[], float]) -> None:
        self._key = key
        self._subject = subject
        self._clock = clock  # Unix seconds
        self._headers: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = base64.urlsafe_b64encode(point).rstrip(b"=").decode()
        """What a page gives to `pushManager.subscribe` as `applicationServerKey`."""

    def header(self, endpoint: str) -> bytes:
        """Return the value of the `authorization` header for a subscription's push service."""
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}"
        now = self._clock()
        known = self._headers.get(origin)
        if known is not None and 0 <= now - known[0] < _RENEW_SECONDS:
            return known[1]
        claims = {"aud": origin, "exp": int(now) + _GOOD_SECONDS, "sub": self._subject}
        token = jwt.encode(claims, self._key, "ES256")
        header = f"vapid t={token}, k={self.public_key}".encode()
        self._headers[origin] = now, header
        self._headers.move_to_end(origin)
        if len(self._headers) > _KEPT:
            self._headers.popitem(last=False)
        return header


def load_key(path: Path, setting: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key of P-256 in PEM.

    Raises:
        ConfigError: There is none; `setting` is the key of the configuration that names the file.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{setting}: {path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{setting}: {path} is no private key of P-256")
    return key


def load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read chatd's own key, or make it: the subscriptions of browsers are bound to it, so it is made once.

    Raises:
        ConfigError: It cannot be read or written.
    """
    if path.exists():
        return load_key(path, "push.webpush.key")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"push.webpush.key: {path}: {error.strerror or error}") from error
    return key
