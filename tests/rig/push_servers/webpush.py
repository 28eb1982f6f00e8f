"""A push service and a browser in one: it checks RFC 8030 and VAPID (RFC 8292), and decrypts by RFC 8291.

What is decrypted here is written from the RFCs with the bare functions of the standard library, apart from what chatd
encrypts with, so that an error there does not hide.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.rig.push_servers.http2 import Reply, Request


def to_text(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half, uncompressed."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _expand(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF of RFC 5869, for up to one block."""
    pseudo_random = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(pseudo_random, info + b"\x01", hashlib.sha256)[:size]


def decrypt(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """Decrypt a message of one record.

    Raises:
        ValueError: It is not what RFC 8188 and RFC 8291 ask for.
    """
    salt, size, key_length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
    sender, sealed = body[21 : 21 + key_length], body[21 + key_length :]
    if key_length != 65 or size < 18 or len(sealed) > size:
        raise ValueError("not one record with a key of P-256")
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    secret = _expand(auth, shared, b"WebPush: info\0" + point(key) + sender, 32)
    try:
        padded = AESGCM(_expand(salt, secret, b"Content-Encoding: aes128gcm\0", 16)).decrypt(
            _expand(salt, secret, b"Content-Encoding: nonce\0", 12), sealed, None
        )
    except InvalidTag:
        raise ValueError("not for these keys") from None
    plain, delimiter, _ = padded.rpartition(b"\x02")
    if not delimiter or padded[len(plain) + 1 :].strip(b"\0"):
        raise ValueError("no last record")
    return plain


@dataclass
class Subscription:
    """What a browser has: an endpoint, its keys, and the server that may push to it."""

    endpoint: str
    server_key: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    received: list[bytes] = field(default_factory=list)

    @property
    def details(self) -> dict[str, str]:
        """What the browser gives to its server, besides the endpoint."""
        return {"p256dh": to_text(point(self.key)), "auth": to_text(self.auth)}


class WebPushService:
    """Answers requests as a browser's push service does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.origin = ""
        self.subscriptions: dict[str, Subscription] = {}
        self.expired: set[str] = set()
        self.failures: list[Reply] = []  # to be said next
        self.requests: list[Request] = []

    def subscribe(self, server_key: str) -> Subscription:
        """Make a subscription that only this server may push to."""
        path = f"/push/{secrets.token_urlsafe(12)}"
        made = self.subscriptions[path] = Subscription(self.origin + path, server_key)
        return made

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        self.requests.append(request)
        if self.failures:
            return self.failures.pop(0)
        subscription = self.subscriptions.get(request.path)
        if subscription is None:
            return Reply(404, b"no such subscription")
        if request.path in self.expired:
            return Reply(410, b"expired")
        problem = self._problem(request, subscription)
        if problem is not None:
            return problem
        try:
            subscription.received.append(decrypt(request.body, subscription.key, subscription.auth))
        except ValueError as error:
            return Reply(400, str(error).encode())
        return Reply(201, headers={"location": f"{self.origin}/message/1"})

    def _problem(self, request: Request, subscription: Subscription) -> Reply | None:
        headers = request.headers
        if not re.fullmatch(r"\d{1,10}", headers.get("ttl", "")):
            return Reply(400, b"TTL is missing")  # RFC 8030 section 5.2
        if headers.get("urgency", "normal") not in ("very-low", "low", "normal", "high"):
            return Reply(400, b"no such urgency")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("topic", "x")):
            return Reply(400, b"no such topic")  # RFC 8030 section 5.4
        if headers.get("content-encoding") != "aes128gcm":
            return Reply(400, b"no such encoding")
        if len(request.body) > 4096:
            return Reply(413, b"too large")  # RFC 8030 section 7.2
        return self._vapid_problem(headers.get("authorization", ""), subscription)

    def _vapid_problem(self, authorization: str, subscription: Subscription) -> Reply | None:
        match = re.fullmatch(r"vapid t=([\w.-]+), ?k=([\w-]+)", authorization)
        if match is None:
            return Reply(401, b"no VAPID")
        token, key = match.groups()
        if key != subscription.server_key:
            return Reply(403, b"another key than the subscription's")  # RFC 8292 section 4.2
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_text(key))
        try:
            options = {"verify_exp": False, "require": ["aud", "exp", "sub"]}
            claims = jwt.decode(token, public, ["ES256"], audience=self.origin, options=options)  # type: ignore[arg-type]
        except jwt.PyJWTError as error:
            return Reply(403, str(error).encode())
        if not self._clock() < claims["exp"] <= self._clock() + 24 * 3600:
            return Reply(403, b"exp is over or too far")  # RFC 8292 section 2
        if not claims["sub"].startswith(("mailto:", "https://")):
            return Reply(403, b"no contact")
        return None
