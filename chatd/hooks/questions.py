"""What a backend is asked, and what it may answer; docs/reference/webhooks.md has both with examples."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.codes import ErrorCode

MAY_DENY_WITH = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.BAD_REQUEST,
        ErrorCode.BAD_TOKEN,
        ErrorCode.REVOKED,
        ErrorCode.FORBIDDEN,
        ErrorCode.UNKNOWN_CHANNEL,
        ErrorCode.TOO_LARGE,
        ErrorCode.NOT_FOUND,
    }
)
"""Codes that a backend may choose; another one becomes FORBIDDEN."""

Attributes = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=256)]], Meta(max_length=16)
]
"""What a backend says of a session that it lets in: told again with every later question and event of the session."""


class MayConnect(msgspec.Struct, frozen=True, kw_only=True):
    """Asked when a session's token is good, before it is let in."""

    user: str
    device: str
    guest: bool
    session: str
    address: str


class MaySubscribe(msgspec.Struct, frozen=True, kw_only=True):
    """Asked when the namespace's rules let the user read the channel, before the subscription; for cursors too."""

    user: str
    device: str
    guest: bool
    session: str
    attributes: dict[str, str]
    channel: str


class MaySend(msgspec.Struct, frozen=True, kw_only=True):
    """Asked when the namespace's rules let the user write, before the message gets its place.

    `session` is empty for a message sent over HTTP.
    """

    user: str
    device: str
    guest: bool
    session: str
    attributes: dict[str, str]
    channel: str
    key: str
    data: msgspec.Raw


Question = MayConnect | MaySubscribe | MaySend


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the backend answers. `attributes` counts for connect, `data` for send."""

    decision: Literal["allow", "deny"]
    code: int = ErrorCode.FORBIDDEN
    reason: Annotated[str, Meta(max_length=255)] = "the backend does not allow it"
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    attributes: Attributes | None = None
    data: dict[str, Any] | None = None

    @property
    def error_code(self) -> ErrorCode:
        """The code of a refusal."""
        return ErrorCode(self.code) if self.code in MAY_DENY_WITH else ErrorCode.FORBIDDEN
