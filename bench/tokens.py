"""Signs the tokens of simulated users with the secret of a server that the bench started."""

import time
from collections.abc import Callable

from chatd.accounts.tokens import Tokens
from chatd.config import Auth
from protocol.names import DeviceId, UserId

_LIFE_SECONDS = 24 * 3600


def signer(secret: bytes) -> Callable[[str], str]:
    """Return a function that makes a user's token; without a secret it makes empty ones."""
    if not secret:
        return lambda user: ""
    tokens = Tokens(secret, Auth(), time.time)
    return lambda user: tokens.issue(UserId(user), DeviceId(f"d-{user}"), is_guest=False, seconds=_LIFE_SECONDS)
