"""Errors over HTTP: problem details (RFC 9457) with the same codes as on the socket, and the status of each code."""

import math

import msgspec
from quart import Response

from chatd.accounts.errors import AccountError
from chatd.accounts.tokens import TokenError
from chatd.broker.logs import TooManyChannels
from chatd.rights import Denied
from protocol.codes import ErrorCode
from storage import StoreError

CONTENT_TYPE = "application/problem+json"
STORE_RETRY_SECONDS = 1.0

STATUS = {
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.TIMEOUT: 504,
    ErrorCode.DRAINING: 503,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNKNOWN_COMMAND: 400,
    ErrorCode.NOT_CONNECTED: 401,
    ErrorCode.ALREADY_CONNECTED: 409,
    ErrorCode.BAD_TOKEN: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.REVOKED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.UNKNOWN_CHANNEL: 404,
    ErrorCode.NOT_SUBSCRIBED: 409,
    ErrorCode.ALREADY_SUBSCRIBED: 409,
    ErrorCode.TOO_MANY_SUBSCRIPTIONS: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.NO_HISTORY: 409,
    ErrorCode.KEY_REUSED: 409,
    ErrorCode.NAME_TAKEN: 409,
    ErrorCode.WRONG_CREDENTIALS: 401,
    ErrorCode.UNKNOWN_USER: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.TOO_MANY_MEMBERS: 409,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.INTERNAL: 500,
}
"""The HTTP status that goes with each code, unless HTTP itself has a nearer one (408, 415, 426, …)."""

_CODE_OF_STATUS = {
    401: ErrorCode.BAD_TOKEN,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    408: ErrorCode.TIMEOUT,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.RATE_LIMITED,
    503: ErrorCode.UNAVAILABLE,
}


class ApiError(Exception):
    """A request is refused with this code. `status` is only for where HTTP has a nearer one than the code's."""

    def __init__(
        self, code: ErrorCode, reason: str, retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.status = status


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: `code` is one of protocol/codes.py; `retry_after` (seconds) is given when waiting helps."""

    type: str
    title: str
    status: int
    detail: str
    code: int
    retry_after: float | None = None


def problem(code: ErrorCode, reason: str, retry_after: float | None = None, status: int | None = None) -> Problem:
    """Describe an error. `status` is only for where HTTP has a nearer one than the code's."""
    return Problem(
        type=f"/docs#error-{code.value}",
        title=code.name.lower().replace("_", " "),
        status=status or STATUS[code],
        detail=reason,
        code=code.value,
        retry_after=None if retry_after is None else round(retry_after, 3),
    )


def problem_of(error: Exception) -> Problem | None:
    """Describe what a part of chatd refused or could not do; None for a fault that none of them announces."""
    match error:
        case ApiError():
            return problem(error.code, error.reason, error.retry_after, error.status)
        case AccountError():
            return problem(error.code, error.reason, error.retry_after)
        case TokenError() | Denied():
            return problem(error.code, error.reason)
        case StoreError() | TooManyChannels():
            return problem(ErrorCode.UNAVAILABLE, "the store cannot do it now", STORE_RETRY_SECONDS)
        case _:
            return None


def problem_headers(described: Problem) -> dict[str, str]:
    """Return the headers that go with a problem."""
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    if described.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(described.retry_after)))
    if described.status == 401:
        is_about_token = described.code != ErrorCode.WRONG_CREDENTIALS
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if is_about_token else "Bearer"
    return headers


def problem_response(described: Problem) -> Response:
    """Answer with a problem."""
    return Response(msgspec.json.encode(described), described.status, problem_headers(described))


def code_of_status(status: int) -> ErrorCode:
    """Return the code for an error that HTTP found by itself."""
    if status in _CODE_OF_STATUS:
        return _CODE_OF_STATUS[status]
    return ErrorCode.BAD_REQUEST if status < 500 else ErrorCode.INTERNAL
