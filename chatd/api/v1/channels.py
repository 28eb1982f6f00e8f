"""`/v1/channels`: messages in, history and conversations out."""

import base64
import secrets
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import (
    document_headers,
    document_querystring,
    document_request,
    document_response,
    security_scheme,
    tag,
)

from chatd.api.exchange import allowed, json_response, read_body, read_query, speaker
from chatd.api.problems import ApiError
from chatd.api.realtime import MembershipsResult
from chatd.api.services import Services
from chatd.event import message_event
from protocol.body import Body, BodyError, Encoding, accept
from protocol.codes import ErrorCode
from protocol.messages import Message, Number
from protocol.names import Epoch, Seq, is_key

Limit = Annotated[int, Meta(ge=1, le=1000, description="how many at most; the server may have a lower limit")]

After = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,15},[^,]{1,255}$",
        description="`at` and `channel` of the last one of the page before: AT,CHANNEL",
    ),
]


class NewMessage(msgspec.Struct, frozen=True):
    """A message to append. With a `key` of your own it is stored once, however often you send it."""

    data: Annotated[
        msgspec.Raw, Meta(description="any object; passed on untouched", extra_json_schema={"type": "object"})
    ]
    key: str | None = None
    retry: bool = False


class MessageHeaders(msgspec.Struct, frozen=True):
    """`Idempotency-Key` is another place for the key; each request with it counts as a possible retry."""

    idempotency_key: str | None = None


class SentMessage(msgspec.Struct, frozen=True):
    """The message's place. In a durable channel it is on disk now. `at` is in Unix milliseconds."""

    channel: str
    key: str
    epoch: Epoch
    seq: Seq
    at: int
    duplicate: bool


class Page(msgspec.Struct, frozen=True):
    """Which page: the one before a seq, the one after a seq, else the last one."""

    before: Number | None = None
    after: Number | None = None
    limit: Limit = 50


class HistoryAnswer(msgspec.Struct, frozen=True):
    """Messages in rising seq; `more` tells whether there is another page in the same direction."""

    channel: str
    messages: list[Message]
    more: bool


class ChannelsPage(msgspec.Struct, frozen=True):
    """Which channels: only those that changed at or after `since` (Unix milliseconds), and which page of them."""

    since: Number = 0
    limit: Limit = 100
    after: After | None = None


def channel_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("channels", __name__, url_prefix="/v1")
    realtime = services.realtime

    @routes.post("/channels/<channel>/messages")
    @tag(["messages"])
    @security_scheme([{"bearer": []}])
    @document_request(NewMessage)
    @document_headers(MessageHeaders)
    @document_response(SentMessage)
    async def send(channel: str) -> Response:
        """Append a message to a channel."""
        principal = await speaker(services)
        message = await read_body(NewMessage)
        key, retry = _key_of(message)
        sent = allowed(await realtime.publish(principal, channel, key, _body_of(message), retry))
        place = sent.place
        return json_response(SentMessage(channel, key, place.epoch, place.seq, place.at, sent.duplicate))

    @routes.get("/channels/<channel>/messages")
    @tag(["messages"])
    @security_scheme([{"bearer": []}])
    @document_querystring(Page)
    @document_response(HistoryAnswer)
    async def history(channel: str) -> Response:
        """Read a page of a channel."""
        principal = await speaker(services)
        page = read_query(Page)
        found = allowed(
            await realtime.history(principal, channel, before=page.before, after=page.after, limit=page.limit)
        )
        return json_response(
            HistoryAnswer(channel, [message_event(one, Encoding.JSON) for one in found.messages], found.more)
        )

    @routes.get("/channels")
    @tag(["messages"])
    @security_scheme([{"bearer": []}])
    @document_querystring(ChannelsPage)
    @document_response(MembershipsResult)
    async def channels() -> Response:
        """List your member channels, the one with the newest message first."""
        principal = await speaker(services)
        asked = read_query(ChannelsPage)
        return json_response(
            allowed(await realtime.memberships(principal, asked.since, _place(asked.after), asked.limit))
        )

    return routes


def _key_of(message: NewMessage) -> tuple[str, bool]:
    """Return the message's key, and whether it may have been sent before.

    Who uses the header repeats requests as they were, and cannot say that it is a repetition: it always may be one.
    """
    header = request.headers.get("Idempotency-Key")
    if header is not None and message.key not in (None, header):
        raise ApiError(ErrorCode.BAD_REQUEST, "`key` and the header Idempotency-Key differ")
    key = message.key if message.key is not None else header
    if key is None:
        return base64.b32encode(secrets.token_bytes(15)).decode().lower(), False
    if not is_key(key):
        raise ApiError(ErrorCode.BAD_REQUEST, "a key has 1 to 128 printable ASCII characters without space")
    return key, message.retry or header is not None


def _place(after: str | None) -> tuple[int, str] | None:
    """Return the time and the name that a query says a page is to begin behind."""
    if after is None:
        return None
    at, _, channel = after.partition(",")
    return int(at), channel


def _body_of(message: NewMessage) -> Body:
    try:
        return accept(Encoding.JSON, bytes(message.data))
    except BodyError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from error
