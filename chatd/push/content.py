"""What of a message concerns pushes: read once from its `data`, and carried by the jobs from then on.

    text        shown, by the templates (the field is `push.text_field`)
    mentions    a list of users, or "*" for everybody in the channel
    push        what the sender wants besides: kind, priority, ttl_seconds, collapse, sound, activity, state, event;
                and, where only backends write, title and body

Whatever is not of the right type counts as not given: a message is never refused for how it wants to be pushed.
"""

from typing import Any

import msgspec

from chatd.push import Kind, Priority
from protocol.body import Encoding
from protocol.names import ChannelName, Seq, UserId
from storage.records import StoredMessage

EVERYBODY = "*"

_MENTIONS = 200
_SHORT = 64
_TITLE = 200
_STATE_BYTES = 2048

# A call that was not taken for this long is over.
_CALL_SECONDS = 30
_LONGEST_SECONDS = 2_419_200

_read_json = msgspec.json.Decoder().decode
_read_msgpack = msgspec.msgpack.Decoder().decode


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message, as far as a push needs it. `expires_at` is in Unix milliseconds."""

    channel: ChannelName
    epoch: str
    seq: Seq
    sender: UserId
    at: int
    expires_at: int
    text: str = ""
    mentions: tuple[str, ...] = ()
    kind: Kind = "alert"
    priority: Priority = "high"
    title: str = ""
    body: str = ""
    collapse: str = ""
    sound: str = ""
    activity: str = ""
    state: bytes = b""
    event: str = "update"

    @property
    def place(self) -> str:
        """Where the message stands, as a text that no other message has."""
        return f"{self.channel}/{self.epoch}/{self.seq}"

    def mentioned(self, user: UserId) -> bool:
        """Tell whether the message names the user."""
        return user in self.mentions or EVERYBODY in self.mentions


def content_of(
    message: StoredMessage, *, text_field: str, text_bytes: int, ttl_seconds: int, by_backends: bool
) -> Content:
    """Read what a message says about its push. `by_backends` tells that no user may write into its channel."""
    data = _data(message)
    wanted = data.get("push")
    push: dict[str, Any] = wanted if isinstance(wanted, dict) else {}
    kind: Kind = _one_of(push.get("kind"), "alert", ("background", "voip", "liveactivity"))
    if kind == "voip":
        ttl_seconds = _CALL_SECONDS
    asked = push.get("ttl_seconds")
    if isinstance(asked, int) and not isinstance(asked, bool) and 0 < asked <= _LONGEST_SECONDS:
        ttl_seconds = asked
    return Content(
        channel=message.channel,
        epoch=message.epoch,
        seq=message.seq,
        sender=message.sender,
        at=message.at,
        expires_at=message.at + ttl_seconds * 1000,
        text=_cut(_text(data.get(text_field)), text_bytes),
        mentions=_mentions(data.get("mentions")),
        kind=kind,
        priority=_one_of(push.get("priority"), "high", ("normal", "low")),
        # A user who may choose the title may pretend to be somebody else.
        title=_text(push.get("title"))[:_TITLE] if by_backends else "",
        body=_cut(_text(push.get("body")), text_bytes) if by_backends else "",
        collapse=_text(push.get("collapse"))[:_SHORT],
        sound=_text(push.get("sound"))[:_SHORT],
        activity=_text(push.get("activity"))[:_SHORT],
        state=_state(push.get("state")),
        event=_one_of(push.get("event"), "update", ("end",)),
    )


def _data(message: StoredMessage) -> dict[str, Any]:
    """Return a message's object. Bodies are checked when they come in, so it can be read."""
    body = message.body
    value = _read_json(body.raw) if body.encoding is Encoding.JSON else _read_msgpack(body.raw)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _one_of(value: object, otherwise: Any, choices: tuple[str, ...]) -> Any:
    return value if isinstance(value, str) and value in choices else otherwise


def _cut(text: str, size: int) -> str:
    """Return the start of a text that has at most so many bytes in UTF-8, without half a character."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= size else raw[:size].decode("utf-8", "ignore")


def _mentions(value: object) -> tuple[str, ...]:
    if value == EVERYBODY:
        return (EVERYBODY,)
    return tuple(user for user in value[:_MENTIONS] if isinstance(user, str)) if isinstance(value, list) else ()


def _state(value: object) -> bytes:
    """Return the content of a Live Activity as JSON; nothing if it is too large to be pushed."""
    if not isinstance(value, dict):
        return b""
    try:
        raw = msgspec.json.encode(value)
    except (TypeError, ValueError):  # MessagePack has values that JSON has not
        return b""
    return raw if len(raw) <= _STATE_BYTES else b""
