"""Why something about an account was refused."""

from protocol.codes import ErrorCode


class AccountError(Exception):
    """A request about an account is refused; `reason` is for the client, and names nothing secret."""

    def __init__(self, code: ErrorCode, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
