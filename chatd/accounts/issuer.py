"""Tokens of an outside issuer: who signs them is in the configuration, who they speak for is in a claim."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import msgspec

from chatd.accounts.jwks import Jwks
from chatd.accounts.keys import KeyFile, Keys
from chatd.accounts.principal import Principal
from chatd.accounts.subscription_tokens import Leave
from chatd.accounts.tokens import OWN_ISSUER, TokenError, check_times, read_payload
from chatd.config import Auth, ConfigError
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId, is_user_id

ANY_DEVICE = DeviceId("outside")
"""The device of a client that does not say which it is."""

CHANNEL_CLAIM = "channel"
"""A token with this claim lets its user subscribe to this channel, and is good for nothing else."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def open_issuer(config: Auth, clock: Callable[[], float]) -> "OutsideIssuer | None":
    """Make the outside issuer that the configuration names; None when it names none.

    Raises:
        ConfigError: Its key file cannot be used.
    """
    if not (config.key_file or config.jwks_url):
        return None
    if config.issuer == OWN_ISSUER:
        raise ConfigError(f"auth.issuer: {OWN_ISSUER!r} is what chatd's own tokens say")
    if config.key_file:
        return OutsideIssuer(KeyFile(Path(config.key_file), config.algorithms), config, clock)
    return OutsideIssuer(Jwks(config, clock), config, clock)


class OutsideIssuer:
    """Verifies tokens by the issuer's keys. Its users need no account here."""

    def __init__(self, keys: Keys, config: Auth, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._config = config
        self._clock = clock
        self._jws = jwt.PyJWS(algorithms=list(config.algorithms), options={"enforce_minimum_key_length": True})

    async def verify(self, token: str, device: str) -> Principal:
        """Return who the token speaks for; does not suspend while the issuer's keys are known.

        Raises:
            TokenError: The token is not accepted, or the issuer's keys cannot be had.
        """
        claims, user, expires = await self._read(token)
        if CHANNEL_CLAIM in claims:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is for a subscription, not for its user")
        if device and not is_user_id(device):
            raise TokenError(ErrorCode.BAD_REQUEST, "`device` is malformed")
        return Principal(UserId(user), DeviceId(device) if device else ANY_DEVICE, False, int(expires))

    async def subscription(self, token: str) -> Leave:
        """Return which user may read which channel by the token.

        Raises:
            TokenError: The token is not accepted, is for no subscription, or the issuer's keys cannot be had.
        """
        claims, user, _ = await self._read(token)
        channel = claims.get(CHANNEL_CLAIM)
        if not isinstance(channel, str):
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is not for a subscription")
        return Leave(user, channel)

    async def _read(self, token: str) -> tuple[dict[str, Any], str, float]:
        """Return the claims of a token that is good now, its user, and when it ends."""
        key = await self._keys.find(self._key_id(token))
        claims = _read_claims(read_payload(self._jws, token, key.value, key.algorithms))
        self._check_party(claims)
        expires = _time(claims, "exp")
        if expires is None:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token never expires")
        check_times(expires, _time(claims, "nbf") or 0, self._clock(), self._config.leeway_seconds)
        user = claims.get(self._config.user_claim)
        if not isinstance(user, str) or not is_user_id(user):
            raise TokenError(ErrorCode.BAD_TOKEN, "the token names no user")
        return claims, user, expires

    def _key_id(self, token: str) -> str | None:
        try:
            header = self._jws.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is malformed") from error
        # Refused before keys are fetched for it.
        if header.get("alg") not in self._config.algorithms:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token's algorithm is refused")
        key_id = header.get("kid")
        return key_id if isinstance(key_id, str) else None

    def _check_party(self, claims: dict[str, Any]) -> None:
        issuer, audience = claims.get("iss"), claims.get("aud")
        if self._config.issuer and issuer != self._config.issuer:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is of another issuer")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._config.audience and self._config.audience not in audiences:
            raise TokenError(ErrorCode.BAD_TOKEN, "the token is not meant for this server")


def _read_claims(payload: bytes) -> dict[str, Any]:
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's claims are malformed") from error


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(ErrorCode.BAD_TOKEN, "the token's times are malformed")
    return value
