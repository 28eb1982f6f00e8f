"""How a server wants to be spoken to: its path, its greeting, its commands, as bytes with fixed-width numbers.

A dialect is the whole of what the load generator knows about a server. Ids have ten digits (bench/body.py), so that
answers are found by position. Everything here is made once per connection; nothing is made per message.
"""

import base64
import hashlib
import json
from typing import NamedTuple, Protocol

from bench import body
from bench.body import COUNTER_BASE
from bench.wire import SendTemplate, text_frame

HELLO_ID = 2_000_000_000
"""The counter (not based) of the id of a greeting; those of messages stay far below."""

SUBSCRIBE_ID = HELLO_ID + 1

Cursor = tuple[str, int]


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
    durable: bool  # it has member channels, durable history and cursors as chatd has them

    def greeting(self, token: str, cursors: dict[str, Cursor]) -> bytes:
        """Frame the first command; its answer has the id HELLO_ID."""

    def subscribe(self, channel: str) -> bytes:
        """Frame a subscription; its answer has the id SUBSCRIBE_ID."""

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of a publish with a body of this size."""

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Read from an answer to the greeting or the subscription where the channel stands, if it says so."""

    def reply(self, payload: bytes) -> bytes | None:
        """Frame what must be answered to a text frame that is no message and no answer (an application's ping)."""

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
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def is_upgraded(head: bytes) -> bool:
    """Tell whether the head of a response accepts the upgrade."""
    return head.startswith(b"HTTP/1.1 101") and _HANDSHAKE_ACCEPT in head


class ChatdJson:
    """chatd's own protocol, in JSON."""

    name = "chatd"
    path = "/v1/ws"
    subprotocol = "chatd.v1.json"
    durable = True

    def __init__(self, run: str) -> None:
        """Take a name for this run: keys begin with it, so that a server that ran before repeats none of them."""
        self._run = run.encode()

    def greeting(self, token: str, cursors: dict[str, Cursor]) -> bytes:
        """Frame `connect`."""
        command = {"type": "connect", "id": COUNTER_BASE + HELLO_ID, "token": token}
        return _json_frame(command | ({"cursors": cursors} if cursors else {}))

    def subscribe(self, channel: str) -> bytes:
        """Frame `subscribe`."""
        return _json_frame({"type": "subscribe", "id": COUNTER_BASE + SUBSCRIBE_ID, "channel": channel})

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of `send`; the counter is the key too."""
        command = b'{"type":"send","id":%%d,"channel":"%s","key":"%s-%%d","data":%s}'
        return SendTemplate(command % (channel.encode(), self._run, body.template(size)), "nnnt")

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Read it from `subscribed`, or from what the cursor brought in `connected`."""
        answer = json.loads(payload)
        if answer["type"] == "connected":
            answer = answer["resumed"].get(channel)
        return Place(answer["epoch"], answer["seq"], answer["recovered"]) if answer else None

    def reply(self, payload: bytes) -> bytes | None:
        """Answer nothing: chatd's keepalive is the WebSocket's."""
        return None

    def room(self, name: str) -> str:
        """Name a room."""
        return f"room:{name}"


class Centrifugo:
    """Centrifugo's bidirectional protocol, in JSON."""

    name = "centrifugo"
    path = "/connection/websocket"
    subprotocol = ""
    durable = False

    def __init__(self, run: str) -> None:
        """Take the run's name, which this protocol has no use for."""

    def greeting(self, token: str, cursors: dict[str, Cursor]) -> bytes:
        """Frame `connect`, without a token: the peer runs in its insecure mode."""
        return _json_frame({"id": COUNTER_BASE + HELLO_ID, "connect": {}})

    def subscribe(self, channel: str) -> bytes:
        """Frame `subscribe`."""
        return _json_frame({"id": COUNTER_BASE + SUBSCRIBE_ID, "subscribe": {"channel": channel}})

    def send(self, channel: str, size: int) -> SendTemplate:
        """Make the template of `publish`."""
        command = b'{"id":%%d,"publish":{"channel":"%s","data":%s}}'
        return SendTemplate(command % (channel.encode(), body.template(size)), "nnt")

    def place(self, payload: bytes, channel: str) -> Place | None:
        """Know nothing of places: the peer runs without history."""
        return None

    def reply(self, payload: bytes) -> bytes | None:
        """Answer the empty object, which is its ping."""
        return text_frame(b"{}") if payload == b"{}" else None

    def room(self, name: str) -> str:
        """Name a channel of the namespace without a name."""
        return name


DIALECTS: dict[str, type[ChatdJson] | type[Centrifugo]] = {"chatd": ChatdJson, "centrifugo": Centrifugo}


def _json_frame(command: object) -> bytes:
    return text_frame(json.dumps(command, separators=(",", ":")).encode())
