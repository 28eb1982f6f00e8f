"""Publishing one message over HTTP: the same for the hot route and for the app's."""

import base64
import secrets
from typing import Annotated

import msgspec
from msgspec import Meta

from chatd.api.exchange import decode_as
from chatd.api.problems import ApiError
from chatd.backend.build import Backend
from chatd.backend.caller import Caller
from chatd.broker import Published, Refused
from protocol.body import Body, BodyError, Encoding, accept
from protocol.codes import ErrorCode
from protocol.names import Epoch, Seq, UserId, is_key

_MADE_KEY_BYTES = 15

Data = Annotated[msgspec.Raw, Meta(description="any object; passed on untouched", extra_json_schema={"type": "object"})]
Key = Annotated[str, Meta(min_length=1, max_length=128, pattern="^[!-~]+$", description="your own id of the message")]
Lifetime = Annotated[
    float, Meta(gt=0, description="seconds after which history and recovery do not have the message any more")
]


class ServerMessage(msgspec.Struct, frozen=True):
    """A message to publish. (`from`, `key`) is stored once, however often it is sent; without a key it is made."""

    data: Data
    key: Key | None = None
    sender: UserId | None = msgspec.field(default=None, name="from")
    retry: bool = False
    ttl_seconds: Lifetime | None = None


class PublishedMessage(msgspec.Struct, frozen=True):
    """The message's place. In a durable channel it is on disk now. `at` is in Unix milliseconds."""

    channel: str
    key: str
    epoch: Epoch
    seq: Seq
    at: int
    duplicate: bool


def body_of(data: msgspec.Raw) -> Body:
    """Return the body of a message.

    Raises:
        ApiError: It is no object, or nested too deeply.
    """
    try:
        return accept(Encoding.JSON, bytes(data))
    except BodyError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from error


def new_key() -> str:
    """Make a key for a message whose sender gave none."""
    return base64.b32encode(secrets.token_bytes(_MADE_KEY_BYTES)).decode().lower()


def key_of(given: str | None, header: str | None) -> tuple[str, bool]:
    """Return a message's key, and whether it may have been sent before: with the header it always may.

    Raises:
        ApiError: The two differ, or the key is malformed.
    """
    if header is not None and given not in (None, header):
        raise ApiError(ErrorCode.BAD_REQUEST, "`key` and the header Idempotency-Key differ")
    key = given if given is not None else header
    if key is None:
        return new_key(), False
    if not is_key(key):
        raise ApiError(ErrorCode.BAD_REQUEST, "a key has 1 to 128 printable ASCII characters without space")
    return key, header is not None


_decode = msgspec.json.Decoder(ServerMessage)


async def publish_one(
    backend: Backend, caller: Caller, channel: str, raw: bytes, header: str | None
) -> PublishedMessage:
    """Publish what the body of a request says; return its place.

    Raises:
        ApiError: It is refused.
        Denied: The caller may not.
    """
    message = decode_as(_decode, raw)
    key, may_be_again = key_of(message.key, header)
    events = backend.fanout.events(
        [channel],
        key,
        body_of(message.data),
        message.sender,
        message.retry or may_be_again,
        message.ttl_seconds,
        is_many=False,
    )
    [answer] = await backend.publishing.publish(caller, events)
    if isinstance(answer, Refused):
        raise ApiError(answer.code, answer.reason, answer.retry_after)
    return _published(channel, key, answer)


def _published(channel: str, key: str, answer: Published) -> PublishedMessage:
    place = answer.place
    return PublishedMessage(channel, key, place.epoch, place.seq, place.at, answer.duplicate)
