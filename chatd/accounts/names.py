"""Which names people may register: stricter than the grammar of user ids, because people read them."""

import re

from chatd.accounts.errors import AccountError
from protocol.codes import ErrorCode
from protocol.names import UserId

GUEST_PREFIX = "guest-"
RESERVED = frozenset(
    {"admin", "administrator", "anonymous", "backend", "chatd", "guest", "moderator", "root", "support", "system"}
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,63}")


def normal_name(text: str) -> UserId | None:
    """Return the user id that somebody who types this name means; None if no account can have it."""
    name = text.lower() if text.isascii() else ""
    return UserId(name) if _NAME.fullmatch(name) else None


def new_name(text: str) -> UserId:
    """Return the user id of an account to be made under this name.

    Raises:
        AccountError: The name is malformed or reserved.
    """
    name = normal_name(text)
    if name is None:
        raise AccountError(
            ErrorCode.BAD_REQUEST,
            "a name has 2 to 64 of the letters a-z, digits and _ . - and begins with a letter or digit",
        )
    if name in RESERVED or name.startswith(GUEST_PREFIX):
        raise AccountError(ErrorCode.BAD_REQUEST, "the name is reserved")
    return name
