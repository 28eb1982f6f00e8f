"""Objects ↔ the payloads of WebSocket messages, in the two encodings of the protocol."""

import json
from typing import Any, Literal, Protocol

import msgpack

from client.errors import BadAnswer

Encoding = Literal["json", "msgpack"]


class Codec(Protocol):
    """One encoding, chosen by the WebSocket's subprotocol."""

    subprotocol: str

    def encode(self, value: dict[str, Any]) -> str | bytes:
        """Turn an object into a payload."""

    def decode(self, payload: str | bytes) -> dict[str, Any]:
        """Turn a payload into an object.

        Raises:
            BadAnswer: It is none.
        """


class Json:
    """JSON objects in text messages."""

    subprotocol = "chatd.v1.json"

    def encode(self, value: dict[str, Any]) -> str | bytes:
        """Turn an object into JSON without spaces."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def decode(self, payload: str | bytes) -> dict[str, Any]:
        """Turn JSON into an object."""
        if not isinstance(payload, str):
            raise BadAnswer("a binary message on the JSON subprotocol")
        try:
            return _an_object(json.loads(payload))
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"not JSON: {error}") from error


class Msgpack:
    """MessagePack maps in binary messages."""

    subprotocol = "chatd.v1.msgpack"

    def encode(self, value: dict[str, Any]) -> str | bytes:
        """Turn an object into MessagePack."""
        packed: bytes = msgpack.packb(value)
        return packed

    def decode(self, payload: str | bytes) -> dict[str, Any]:
        """Turn MessagePack into an object; keys of `data` may be of any type."""
        if not isinstance(payload, bytes):
            raise BadAnswer("a text message on the MessagePack subprotocol")
        try:
            return _an_object(msgpack.unpackb(payload, strict_map_key=False))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise BadAnswer(f"not MessagePack: {error}") from error


CODECS: dict[Encoding, Codec] = {"json": Json(), "msgpack": Msgpack()}


def _an_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise BadAnswer("not an object with a `type`")
    return value
