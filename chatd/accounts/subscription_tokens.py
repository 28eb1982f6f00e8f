"""Tokens for one subscription: a backend's leave for one user to read one channel, whatever the namespace says.

Two can sign them: chatd itself, asked by a backend over the server API (HS256 with a key of its own, so that such a
token is never good for anything else), and the outside issuer of `[auth]`, whose tokens say `channel` then. A token is
asked for at the moment of subscribing; the subscription lasts as long as the session.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Protocol

import jwt
import msgspec

from chatd.accounts.tokens import (
    MAX_TOKEN_LENGTH,
    OWN_ISSUER,
    NodeHmac,
    TokenError,
    check_times,
    peek_issuer,
    read_payload,
)
from chatd.config import Auth
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId

_ALGORITHM = "HS256"
_AUDIENCE = "subscribe"


class Leave(msgspec.Struct, frozen=True):
    """Who may read what."""

    user: str
    channel: str


class SubscriptionIssuer(Protocol):
    """Verifies what an outside issuer signed."""

    async def subscription(self, token: str) -> Leave:
        """Return what a token of this issuer allows.

        Raises:
            TokenError: It is not accepted, or is no token for a subscription.
        """


class SubscriptionTokens:
    """Signs and verifies tokens for one subscription."""

    def __init__(
        self, secret: bytes, config: Auth, clock: Callable[[], float], issuer: SubscriptionIssuer | None = None
    ) -> None:
        self._key = hmac.digest(secret, b"chatd subscription tokens", "sha256")
        self._leeway = config.leeway_seconds
        self._clock = clock  # Unix seconds
        self._issuer = issuer
        self._jws = jwt.PyJWS(algorithms=[])
        self._jws.register_algorithm(_ALGORITHM, NodeHmac(hashlib.sha256))

    def issue(self, user: UserId, channel: ChannelName, seconds: int) -> str:
        """Sign a token that lets this user subscribe to this channel, from now on, for so long."""
        claims = _Claims(iss=OWN_ISSUER, aud=_AUDIENCE, sub=user, channel=channel, exp=int(self._clock()) + seconds)
        return self._jws.encode(msgspec.json.encode(claims), self._key, _ALGORITHM)

    async def check(self, token: str, user: UserId, channel: ChannelName) -> None:
        """Return if the token lets this user subscribe to this channel now.

        Raises:
            TokenError: It does not.
        """
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed")
        issuer = self._issuer
        if issuer is not None and peek_issuer(token) != OWN_ISSUER:
            leave = await issuer.subscription(token)
        else:
            leave = self._own(token)
        if (leave.user, leave.channel) != (user, channel):
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is for another user or channel")

    def _own(self, token: str) -> Leave:
        payload = read_payload(self._jws, token, self._key, (_ALGORITHM,))
        try:
            claims = _decode(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token's claims are malformed") from error
        if claims.iss != OWN_ISSUER or claims.aud != _AUDIENCE:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is not for a subscription")
        check_times(claims.exp, 0, self._clock(), self._leeway)
        return Leave(claims.sub, claims.channel)


class _Claims(msgspec.Struct):
    iss: str
    aud: Any
    sub: str
    channel: str
    exp: int | float


_decode = msgspec.json.Decoder(_Claims).decode
