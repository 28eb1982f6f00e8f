"""Every code that chatd answers with, in bands that tell a client what to do without knowing the code.

Errors (`error.code`, and `code` in HTTP problem details):

    100–199   try again, after `retry_after` seconds where it is given
    200–299   do not send the same again: it will be refused again

Close codes (WebSocket, RFC 6455 section 7.4; chatd's own are in the private range 4000–4999):

    1000–1015 as the RFC says
    4000–4499 reconnect, with your cursors
    4500–4999 stay away: reconnecting as you are will end the same way
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a command was refused. The comment on each says when it is issued."""

    RATE_LIMITED = 100  # more commands or messages a second than the limits allow
    UNAVAILABLE = 101  # the store or broker cannot take it now, or its queue is full
    TIMEOUT = 102  # the deadline of the command passed; whether it was done is not known: retry with the same key
    DRAINING = 103  # the node is leaving; reconnect and send again

    BAD_REQUEST = 200  # well-formed bytes that are no command: a missing field, a wrong type, a wrong range
    UNKNOWN_COMMAND = 201  # `type` names no command of this version
    NOT_CONNECTED = 202  # a command before `connect` was answered
    ALREADY_CONNECTED = 203  # a second `connect`
    BAD_TOKEN = 204  # the token is malformed, forged, for somebody else, or of a refused algorithm
    TOKEN_EXPIRED = 205  # the token's time is over: get a new one first
    REVOKED = 206  # the device or the account may not connect any more
    FORBIDDEN = 207  # the channel's rules or the user's role do not allow it
    UNKNOWN_CHANNEL = 208  # the name has no configured namespace, is malformed, or nobody created the channel
    NOT_SUBSCRIBED = 209  # the command needs a subscription that the session does not have
    ALREADY_SUBSCRIBED = 210  # the session is subscribed already
    TOO_MANY_SUBSCRIPTIONS = 211  # limits.subscriptions is reached
    TOO_LARGE = 212  # `data` is larger than the namespace's `data_bytes`
    NO_HISTORY = 213  # the namespace keeps no history
    KEY_REUSED = 214  # the same (sender, key) was used for a message of another channel
    NAME_TAKEN = 215  # the name of the account or channel is in use
    WRONG_CREDENTIALS = 216  # name or password is wrong
    UNKNOWN_USER = 217  # no account has this id
    NOT_FOUND = 218  # the thing asked for does not exist
    TOO_MANY_MEMBERS = 219  # the namespace's `members` limit is reached
    METHOD_NOT_ALLOWED = 220  # the HTTP path exists, the method does not
    INTERNAL = 299  # a fault in chatd; it is in its log


class CloseCode(IntEnum):
    """Why a connection ends. The comment on each says when it is issued."""

    NORMAL = 1000  # the client said goodbye, and is answered in kind
    GOING_AWAY = 1001  # the process ends
    PROTOCOL_ERROR = 1002  # the peer broke RFC 6455
    UNSUPPORTED_DATA = 1003  # a text frame on the MessagePack subprotocol, or a binary one on JSON
    INVALID_DATA = 1007  # text that is not UTF-8, or a compressed message that cannot be inflated
    TOO_BIG = 1009  # a frame or message over limits.frame_bytes, message_bytes or fragments
    INTERNAL_ERROR = 1011  # a fault in chatd ended this session; it is in its log

    DRAINING = 4000  # the node leaves; come back to another
    SLOW = 4001  # limits.outbox_bytes waited unread, or nothing was read for stall_seconds
    NO_PONG = 4002  # nothing was heard from the client for a whole keepalive period
    TOKEN_EXPIRED = 4003  # the token's time was over and no `refresh` came: get a new token, reconnect
    TOO_FAST = 4004  # the client went on over its rate limits after being told; wait retry_after
    REPLACED = 4005  # the user opened more than limits.sessions_per_user: the oldest made room
    UNAVAILABLE = 4006  # the store cannot be read, so `connect` cannot be answered: come back a little later
    ENDED = 4007  # a backend ended this session, which may come back

    HELLO_TIMEOUT = 4500  # no `connect` within limits.hello_seconds
    BAD_MESSAGE = 4501  # bytes that are no JSON or MessagePack object
    UNAUTHORIZED = 4502  # `connect` with a token that is not accepted
    REVOKED = 4503  # the device was revoked or logged out, or the account was closed
    DISMISSED = 4504  # a backend ended this session, which shall not come back by itself


def may_retry(code: int) -> bool:
    """Tell whether the same command may succeed later."""
    return 100 <= code < 200


def may_reconnect(code: int) -> bool:
    """Tell whether a client should come back after this close code."""
    return code < 4500 and code not in (
        CloseCode.NORMAL,
        CloseCode.PROTOCOL_ERROR,
        CloseCode.UNSUPPORTED_DATA,
        CloseCode.INVALID_DATA,
        CloseCode.TOO_BIG,
    )
