"""How a server wants to be spoken to: its path, its greeting, its commands, as bytes with numbers of fixed width.

A dialect is the whole of what the load generator knows about a server. Ids have a fixed length (bench/body.py), so that
answers are found by position. Everything here is made once per connection; nothing is made per message.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from bench.body import COUNTER_BASE, json_template, msgpack_template
from bench.grammar import GRAMMARS, Grammar
from bench.seats import Cursor
from bench.wire import SendTemplate, message_frame, text_frame
from protocol.deflate import inflate

HELLO_ID = 3_200_000_000
"""The counter (not based) of the id of a greeting; those of messages stay below."""

ASK_ID = HELLO_ID + 1
SUBSCRIBE_ID = HELLO_ID + 2
"""The first subscription's; further ones count on."""

Encoding = Literal["json", "msgpack"]

_MOST_BYTES = 2**26


class Place(NamedTuple):
    """Where a channel stands, and whether everything since the reader's cursor came with it."""

    epoch: str
    seq: int
    recovered: bool


_HANDSHAKE_KEY = base64.b64encode(b"bench bench benc")
_HANDSHAKE_ACCEPT = base64.b64encode(
    hashlib.sha1(_HANDSHAKE_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # RFC 6455 section 4.2.2
)


class Dialect(Protocol):
    """Makes the bytes that one kind of server understands."""

    name: str
    path: str
    subprotocol: str
    compress: bool  # ask for permessage-deflate, and insist on it

    @property
    def grammar(self) -> Grammar:
        """The marks of what it says."""

    def greeting(self, token: str, cursors: Mapping[str, Cursor]) -> bytes:
        """Frame the first command; its answer has the id HELLO_ID."""

    def subscribe(self, channels: Sequence[str]) -> bytes:
        """Frame subscriptions; their answers have the ids from SUBSCRIBE_ID on."""

    def ask_states(self, users: Sequence[str]) -> bytes:
        """Frame the question in what state users are; its answer has the id ASK_ID."""

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of a publish with a body of this size."""

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Read from an answer to the greeting or the subscription where the channel stands, if it says so."""

    def read(self, first: int, payload: bytes) -> dict[str, Any]:
        """Decode a whole message, compressed or not."""

    def reply(self, payload: bytes) -> bytes | None:
        """Frame what must be answered to a message that is no publication and no answer (an application's ping)."""

    def room(self, name: str) -> str:
        """Name a public channel that anyone may read and write."""


def upgrade_request(dialect: Dialect, host: str) -> bytes:
    """Make the request that opens the WebSocket."""
    lines = [
        f"GET {dialect.path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_HANDSHAKE_KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if dialect.subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {dialect.subprotocol}")
    if dialect.compress:
        lines.append("Sec-WebSocket-Extensions: permessage-deflate")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def is_upgraded(head: bytes, compress: bool = False) -> bool:
    """Tell whether the head of a response accepts the upgrade, with the compression that was asked for."""
    if compress and b"permessage-deflate" not in head:
        return False
    return head.startswith(b"HTTP/1.1 101") and _HANDSHAKE_ACCEPT in head


class Chatd:
    """chatd's own protocol."""

    name = "chatd"
    path = "/v1/ws"

    def __init__(self, run: str, encoding: Encoding = "json", compress: bool = False) -> None:
        """Take a name for this run: keys begin with it, so that a server that ran before repeats none of them."""
        self._run = run
        self._encoding = encoding
        self.compress = compress
        self.subprotocol = f"chatd.v1.{encoding}"

    @property
    def grammar(self) -> Grammar:
        """The marks of its encoding."""
        return GRAMMARS[self._encoding]

    def greeting(self, token: str, cursors: Mapping[str, Cursor]) -> bytes:
        """Frame `connect`."""
        fields: dict[str, object] = {"token": token}
        return self._command("connect", HELLO_ID, fields | ({"cursors": cursors} if cursors else {}))

    def subscribe(self, channels: Sequence[str]) -> bytes:
        """Frame `subscribe` for each."""
        return b"".join(
            self._command("subscribe", SUBSCRIBE_ID + index, {"channel": channel})
            for index, channel in enumerate(channels)
        )

    def ask_states(self, users: Sequence[str]) -> bytes:
        """Frame `presence`."""
        return self._command("presence", ASK_ID, {"users": list(users)})

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of `send`; the counter is the key too."""
        if self._encoding == "json":
            command = b'{"type":"send","id":%%d,"channel":"%s","key":"%s-%%d","data":%s}'
            return SendTemplate(command % (channel.encode(), self._run.encode(), json_template(size)), "nnnt")
        strings = ("type", "send", "channel", channel, "key")
        kind, send, channel_field, name, key_field = (_packed(text) for text in strings)
        # The key ends with ten digits that are filled in, and its head counts them.
        key = _packed(f"{self._run}-{COUNTER_BASE}")[:-10] + b"%d"
        command = b"\x85" + kind + send + b"\xa2id\xce%b" + channel_field + name + key_field + key + _packed("data")
        return SendTemplate(command + msgpack_template(size), "NnNT", self.grammar.first)

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Read it from `subscribed`, or from what the cursor brought in `connected`."""
        answer = self._decode(payload)
        if answer["type"] == "connected":
            answer = answer["resumed"].get(channel)
        # An error has no place; it is counted as one, and a closed connection follows.
        return Place(answer["epoch"], answer["seq"], answer["recovered"]) if answer and "epoch" in answer else None

    def read(self, first: int, payload: bytes) -> dict[str, Any]:
        """Decode a message."""
        found: dict[str, Any] = self._decode(
            inflate(payload, _MOST_BYTES) if first == self.grammar.compressed else payload
        )
        return found

    def reply(self, payload: bytes) -> bytes | None:
        """Answer nothing: chatd's keepalive is the WebSocket's."""
        return None

    def room(self, name: str) -> str:
        """Name a room."""
        return f"room:{name}"

    def _command(self, kind: str, number: int, fields: Mapping[str, object]) -> bytes:
        command = {"type": kind, "id": COUNTER_BASE + number, **fields}
        encode = msgspec.json.encode if self._encoding == "json" else msgspec.msgpack.encode
        return message_frame(self.grammar.first, encode(command))

    def _decode(self, payload: bytes) -> Any:
        return msgspec.json.decode(payload) if self._encoding == "json" else msgspec.msgpack.decode(payload)


class Centrifugo:
    """Centrifugo's bidirectional protocol, in JSON."""

    name = "centrifugo"
    path = "/connection/websocket"
    subprotocol = ""

    def __init__(self, compress: bool = False) -> None:
        self.compress = compress

    @property
    def grammar(self) -> Grammar:
        """The marks of JSON."""
        return GRAMMARS["json"]

    def greeting(self, token: str, cursors: Mapping[str, Cursor]) -> bytes:
        """Frame `connect`, without a token: the peer runs in its insecure mode."""
        return _json_frame({"id": COUNTER_BASE + HELLO_ID, "connect": {}})

    def subscribe(self, channels: Sequence[str]) -> bytes:
        """Frame `subscribe` for each."""
        return b"".join(
            _json_frame({"id": COUNTER_BASE + SUBSCRIBE_ID + index, "subscribe": {"channel": channel}})
            for index, channel in enumerate(channels)
        )

    def ask_states(self, users: Sequence[str]) -> bytes:
        """Ask nothing: the peer has no states of users. Scenarios that need them are not run against it."""
        return b""

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of `publish`."""
        command = b'{"id":%%d,"publish":{"channel":"%s","data":%s}}'
        return SendTemplate(command % (channel.encode(), json_template(size)), "nnt")

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Know nothing of places: the peer runs without history."""
        return None

    def read(self, first: int, payload: bytes) -> dict[str, Any]:
        """Decode a message."""
        found: dict[str, Any] = json.loads(payload)
        return found

    def reply(self, payload: bytes) -> bytes | None:
        """Answer the empty object, which is its ping."""
        return text_frame(b"{}") if payload == b"{}" else None

    def room(self, name: str) -> str:
        """Name a channel of the namespace without a name."""
        return name


def _json_frame(command: object) -> bytes:
    return text_frame(json.dumps(command, separators=(",", ":")).encode())


def _packed(text: str) -> bytes:
    """Encode a string in MessagePack, ready to stand in a %-template."""
    return msgspec.msgpack.encode(text).replace(b"%", b"%%")
