"""Whether the keys of the outside issuer of tokens can be had, if there is one."""

import time

from chatd.accounts.issuer import open_issuer
from chatd.accounts.jwks import Jwks
from chatd.accounts.tokens import TokenError
from chatd.config import Config, ConfigError
from chatd.doctor import Finding, failure, ok
from protocol.codes import ErrorCode

_SUBJECT = "issuer"
_NO_KEY = "chatd doctor asks whether there is any"  # the id of a key that no issuer has


async def check_issuer(config: Config) -> list[Finding]:
    """Read the key file, or fetch the published keys once."""
    auth = config.auth
    try:
        if open_issuer(auth, time.time) is None:
            return []
    except ConfigError as error:
        return [failure(_SUBJECT, str(error), "see docs/howto/use-your-own-tokens.md")]
    if auth.key_file:
        return [ok(_SUBJECT, f"{auth.key_file} is a key for {', '.join(auth.algorithms)}")]
    try:
        await Jwks(auth, time.time).find(_NO_KEY)
    except TokenError as error:
        if error.code is ErrorCode.UNAVAILABLE:
            return [failure(_SUBJECT, f"{auth.jwks_url} gives no keys", "fetch it by hand from this machine")]
    return [ok(_SUBJECT, f"{auth.jwks_url} gives keys")]
