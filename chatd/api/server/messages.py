"""`/v1/server/…/messages`: publishing and reading."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_headers, document_querystring, document_request, document_response

from chatd.api.exchange import read_body, read_query
from chatd.api.problems import ApiError, Problem, problem
from chatd.api.server.asking import (
    Cursor,
    PageLimit,
    about,
    answer,
    caller_of,
    decode_cursor,
    encode_cursor,
    kept_answer,
)
from chatd.api.server.publish import Data, Key, Lifetime, PublishedMessage, ServerMessage, body_of, key_of, publish_one
from chatd.api.services import Services
from chatd.api.v1.channels import MessageHeaders
from chatd.backend.caller import Caller
from chatd.backend.publishing import NewEvent
from chatd.broker import Published, Refused
from chatd.event import message_event
from protocol.body import Encoding
from protocol.codes import ErrorCode
from protocol.messages import Message
from protocol.names import Epoch, Seq, UserId

Names = Annotated[list[str], Meta(max_length=1000)]


class BatchItem(msgspec.Struct, frozen=True):
    """One message, for one or several channels; each of them gets a message of its own."""

    data: Data
    channel: str | None = None
    channels: Names = []
    users: Annotated[Names, Meta(description="their inboxes, `user:ID`: all devices of each user get it")] = []
    member_of: Annotated[str | None, Meta(description="all member channels of this user")] = None
    key: Key | None = None
    sender: UserId | None = msgspec.field(default=None, name="from")
    retry: bool = False
    ttl_seconds: Lifetime | None = None


class Batch(msgspec.Struct, frozen=True):
    """Messages that are published in this order; each has an answer of its own."""

    messages: Annotated[list[BatchItem], Meta(min_length=1, max_length=1000)]


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one message in one channel: its place, or the problem."""

    item: Annotated[int, Meta(description="which of the messages, counted from 0")]
    channel: str
    key: str
    epoch: Epoch | None = None
    seq: Seq | None = None
    at: int | None = None
    duplicate: bool = False
    problem: Problem | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of each message, in their order; of one that goes to several channels, in each of them."""

    results: list[BatchResult]


class HistoryQuery(msgspec.Struct, frozen=True):
    """Which page: the newest one, or the next one after a cursor. `newer` reads from the oldest message on."""

    cursor: Cursor | None = None
    limit: PageLimit = 50
    newer: bool = False


class MessagePage(msgspec.Struct, frozen=True):
    """Messages in rising seq. `next` leads to older (or, where asked for, newer) ones; null at the end."""

    channel: str
    messages: list[Message]
    next: str | None


def message_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_messages", __name__, url_prefix="/v1/server")
    backend = services.backend

    @routes.post("/channels/<channel>/messages")
    @about("messages")
    @document_request(ServerMessage)
    @document_headers(MessageHeaders)
    @document_response(PublishedMessage)
    async def publish(channel: str) -> Response:
        """Publish one message to a channel."""
        caller = await caller_of(services)
        raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        return answer(await publish_one(backend, caller, channel, raw, request.headers.get("Idempotency-Key")))

    @routes.post("/messages")
    @about("messages")
    @document_request(Batch)
    @document_headers(MessageHeaders)
    @document_response(BatchAnswer)
    async def publish_batch() -> Response:
        """Publish up to 1,000 messages: to channels, to users, to all channels of a user."""
        caller = await caller_of(services)
        batch = await read_body(Batch)
        header = request.headers.get("Idempotency-Key")
        items: list[int] = []
        events: list[NewEvent] = []
        for number, item in enumerate(batch.messages):
            new = await _events(services, caller, item, header and f"{header}.{number}")
            items += [number] * len(new)
            events += new
        if len(events) > backend.fanout.most:
            raise ApiError(ErrorCode.BAD_REQUEST, f"one request may publish {backend.fanout.most} messages")
        placed = await backend.publishing.publish(caller, events)
        results = [_result(number, event, one) for number, event, one in zip(items, events, placed, strict=True)]
        return answer(BatchAnswer(results))

    @routes.get("/channels/<channel>/messages")
    @about("messages")
    @document_querystring(HistoryQuery)
    @document_response(MessagePage)
    async def history(channel: str) -> Response:
        """Read a page of a channel."""
        caller = await caller_of(services)
        asked = read_query(HistoryQuery)
        kind = f"newer {channel}" if asked.newer else f"older {channel}"
        place = decode_cursor(kind, asked.cursor, int)
        after = (place or 0) if asked.newer else None
        before = None if asked.newer else place
        found, more = await backend.seeing.history(caller, channel, before=before, after=after, limit=asked.limit)
        edge = found[-1 if asked.newer else 0].seq if found and more else None
        following = None if edge is None else encode_cursor(kind, edge)
        return kept_answer(MessagePage(channel, [message_event(one, Encoding.JSON) for one in found], following))

    return routes


async def _events(services: Services, caller: Caller, item: BatchItem, header: str | None) -> list[NewEvent]:
    """Return the events of one item: one for each channel that it is for."""
    fanout = services.backend.fanout
    is_many = bool(item.channels or item.users or item.member_of is not None)
    named = [*([] if item.channel is None else [item.channel]), *item.channels]
    # What is wrong with one channel is the answer for that channel; a single one needs no looking up of users.
    channels = await fanout.channels(caller, named, item.users, item.member_of or "") if is_many else named
    if not channels and not is_many:
        raise ApiError(ErrorCode.BAD_REQUEST, "say for whom: a channel, channels, users or member_of")
    if item.key is not None and header is not None:
        header = None  # the header is for those without a key of their own
    key, may_be_again = key_of(item.key, header)
    return fanout.events(
        channels, key, body_of(item.data), item.sender, item.retry or may_be_again, item.ttl_seconds, is_many=is_many
    )


def _result(number: int, event: NewEvent, answer: Published | Refused) -> BatchResult:
    if isinstance(answer, Refused):
        described = problem(answer.code, answer.reason, answer.retry_after)
        return BatchResult(number, event.channel, event.key, problem=described)
    place = answer.place
    return BatchResult(number, event.channel, event.key, place.epoch, place.seq, place.at, answer.duplicate)
