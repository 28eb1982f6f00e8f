"""Access tokens: chatd's own, signed with the node's secret, and those of an outside issuer.

A token is told to be chatd's own by its `iss`, read before anything is verified; it is then verified strictly in that
one way, so a wrong `iss` only ever makes a token fail. The algorithm is fixed by the way, never chosen by the token.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Protocol

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

from chatd.accounts.principal import Principal
from chatd.config import Auth
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId, is_user_id

OWN_ISSUER = "chatd"
MAX_TOKEN_LENGTH = 8192
MAX_TIME = 2**53

_ALGORITHM = "HS256"


class TokenError(Exception):
    """A token is not accepted. `reason` is for the client and never contains any of the token."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Issuer(Protocol):
    """Verifies the tokens of an outside issuer."""

    async def verify(self, token: str, device: str) -> Principal:
        """Return who the token speaks for; does not suspend while the issuer's keys are known.

        Raises:
            TokenError: The token is not accepted, or the issuer's keys cannot be had.
        """


class Tokens:
    """Issues and verifies access tokens, and remembers which devices were revoked before theirs expired."""

    def __init__(self, secret: bytes, config: Auth, clock: Callable[[], float], issuer: Issuer | None = None) -> None:
        self._secret = secret
        self._clock = clock
        self._leeway = config.leeway_seconds
        self._longest = max(config.access_seconds, config.guest_seconds) + config.leeway_seconds
        self._issuer = issuer
        self._jws = jwt.PyJWS(algorithms=[])
        self._jws.register_algorithm(_ALGORITHM, NodeHmac(hashlib.sha256))
        self._revoked: dict[DeviceId, float] = {}

    def issue(self, user: UserId, device: DeviceId, *, is_guest: bool, seconds: int) -> str:
        """Sign a token that speaks for this user on this device from now on, for so long."""
        now = int(self._clock())
        claims = _Claims(iss=OWN_ISSUER, sub=user, dev=device, gst=is_guest, iat=now, exp=now + seconds)
        return self._jws.encode(msgspec.json.encode(claims), self._secret, _ALGORITHM)

    async def verify(self, token: str, device: str = "") -> Principal:
        """Return who the token speaks for. Does not suspend for chatd's own tokens, nor while an issuer's key is known.

        `device` is what the client calls itself: it counts only where the token does not name the device.

        Raises:
            TokenError: The token is malformed, forged, expired, not yet valid, revoked, or cannot be verified now.
        """
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed")
        if self._issuer is not None and peek_issuer(token) != OWN_ISSUER:
            return await self._issuer.verify(token, device)
        return self._verify_own(token)

    def revoke(self, device: DeviceId) -> None:
        """Refuse this device's tokens from now on; forgotten when the last of them must have expired."""
        now = self._clock()
        while self._revoked:
            oldest = next(iter(self._revoked))
            if self._revoked[oldest] > now:
                break
            del self._revoked[oldest]
        self._revoked.pop(device, None)
        self._revoked[device] = now + self._longest

    def is_revoked(self, device: DeviceId) -> bool:
        """Tell whether this device's tokens are refused."""
        return device in self._revoked

    @property
    def longest_seconds(self) -> int:
        """How long a token may be in use at most, counted from when it was issued."""
        return self._longest

    def _verify_own(self, token: str) -> Principal:
        claims = _decode_claims(read_payload(self._jws, token, self._secret, (_ALGORITHM,)))
        if claims.iss != OWN_ISSUER or claims.aud is not None:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is not meant for this server")
        check_times(claims.exp, claims.nbf, self._clock(), self._leeway)
        if not is_user_id(claims.sub) or not is_user_id(claims.dev):
            raise TokenError(ErrorCode.BAD_TOKEN, "the token names no user and device")
        device = DeviceId(claims.dev)
        if device in self._revoked:
            raise TokenError(ErrorCode.REVOKED, "the device was revoked or logged out")
        return Principal(UserId(claims.sub), device, claims.gst, int(claims.exp))


class _Claims(msgspec.Struct, omit_defaults=True):
    """What chatd's own tokens say. `aud` is here to be refused: such a token was signed for somebody else."""

    iss: str
    sub: str
    dev: str
    exp: int | float
    gst: bool = False
    iat: int | float = 0
    nbf: int | float = 0
    aud: Any = None


class _IssuerClaim(msgspec.Struct):
    iss: Any = None


class NodeHmac(HMACAlgorithm):
    """HMAC with a key that is known to be 32 random bytes, so it is not examined anew for each token (20 µs)."""

    def prepare_key(self, key: str | bytes) -> bytes:
        if not isinstance(key, bytes):
            raise TypeError("the node's secret is bytes")
        return key

    def verify(self, msg: bytes, key: bytes, sig: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key, msg, "sha256"), sig)


_payload_of_claims = msgspec.json.Decoder(_Claims).decode
_payload_of_issuer = msgspec.json.Decoder(_IssuerClaim).decode


def read_payload(jws: jwt.PyJWS, token: str, key: Any, algorithms: tuple[str, ...]) -> bytes:
    """Return the token's payload after its signature was verified.

    Raises:
        TokenError: It is malformed, of another algorithm, or not signed with this key.
    """
    try:
        payload: bytes = jws.decode_complete(token, key, algorithms=algorithms)["payload"]
    except jwt.InvalidSignatureError as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's signature is wrong") from error
    except jwt.InvalidAlgorithmError as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's algorithm is refused") from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed") from error
    return payload


def check_times(expires: float, not_before: float, now: float, leeway: float) -> None:
    """Check that a token is valid now, clocks differing by `leeway` at most.

    Raises:
        TokenError: It is not.
    """
    if not 0 <= expires <= MAX_TIME:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed")
    if expires <= now - leeway:
        raise TokenError(ErrorCode.TOKEN_EXPIRED, "the token has expired")
    if not_before > now + leeway:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token is not valid yet")


def _decode_claims(payload: bytes) -> _Claims:
    try:
        return _payload_of_claims(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's claims are malformed") from error


def peek_issuer(token: str) -> object:
    """Read `iss` before anything is verified. It only chooses the way in which the token is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed")
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return _payload_of_issuer(payload).iss
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed") from error
