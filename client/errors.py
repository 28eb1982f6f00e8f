"""What the client raises.

ClientError
├── RequestError        the server refused a command, or an HTTP request; carries its code
├── ConnectionFailed    no connection could be made in time
├── ConnectionClosed    the connection is over: for good, or before this command was answered
├── Unanswered          a deadline passed; whether the command was done is not known
└── BadAnswer           the server said what the protocol does not allow
"""

# Codes of docs/reference/protocol.md that the client itself acts on.
NORMAL = 1000
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
ABNORMAL = 1006
INVALID_DATA = 1007
TOO_BIG = 1009
DRAINING = 4000
TOKEN_OVER = 4003
TOO_FAST = 4004
REPLACED = 4005

BAD_TOKEN = 204
TOKEN_EXPIRED = 205

MALFORMED = (KeyError, TypeError, ValueError, AttributeError)
"""What reading an answer raises that is not what the protocol says."""

_FINAL = frozenset((PROTOCOL_ERROR, UNSUPPORTED_DATA, INVALID_DATA, TOO_BIG, REPLACED))


class ClientError(Exception):
    """The root of what the client raises."""


class RequestError(ClientError):
    """The server refused. `code` is an error code of the protocol, `retry_after` the seconds to wait, if it said so."""

    def __init__(self, code: int, reason: str, retry_after: float | None = None) -> None:
        super().__init__(code, reason, retry_after)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        wait = "" if self.retry_after is None else f", retry after {self.retry_after:g} s"
        return f"{self.reason} (code {self.code}{wait})"

    @property
    def may_retry(self) -> bool:
        """Tell whether the same command may succeed later."""
        return self.code < 200


class ConnectionFailed(ClientError):
    """No connection could be made in the given time; `__cause__` is what the last try met."""


class ConnectionClosed(ClientError):
    """The connection is over. `code` is the WebSocket's close code: the server's, or 1006 when it was lost."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"closed with {self.code}: {self.reason}" if self.reason else f"closed with {self.code}"

    @property
    def may_reconnect(self) -> bool:
        """Tell whether the client comes back after this by itself.

        A session that made room for a newer one does not: they would push each other out for ever.
        """
        return self.code < 4500 and self.code not in _FINAL


class Unanswered(ClientError):
    """The deadline passed before the answer. A message may be sent again with this `key` and `retry`, harmlessly."""

    def __init__(self, command: str, key: str | None = None) -> None:
        super().__init__(command, key)
        self.command = command
        self.key = key

    def __str__(self) -> str:
        return f"`{self.command}` was not answered in time" + (f" (key {self.key})" if self.key else "")


class BadAnswer(ClientError):
    """The server said what the protocol does not allow; the connection is given up."""
