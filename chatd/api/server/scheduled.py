"""`/v1/server/scheduled`: messages that are published later."""

import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_headers, document_querystring, document_request, document_response

from chatd.api.exchange import nothing, read_body, read_query
from chatd.api.problems import ApiError
from chatd.api.server.asking import (
    Cursor,
    PageLimit,
    about,
    answer,
    caller_of,
    decode_cursor,
    encode_cursor,
    kept_answer,
    page_size,
)
from chatd.api.server.publish import Data, Key, Lifetime, body_of, key_of
from chatd.api.services import Services
from chatd.api.v1.channels import MessageHeaders
from chatd.backend.publishing import NewEvent
from chatd.backend.schedule import Scheduled
from protocol.codes import ErrorCode
from protocol.messages import Number
from protocol.names import UserId


class LaterMessage(msgspec.Struct, frozen=True):
    """A message to publish at a time (Unix milliseconds), or after a delay. Its life begins when it is published."""

    channel: str
    data: Data
    at: Number | None = None
    delay_seconds: Annotated[float, Meta(ge=0, le=2**31 - 1)] | None = None
    key: Key | None = None
    sender: UserId | None = msgspec.field(default=None, name="from")
    ttl_seconds: Lifetime | None = None


class ScheduledQuery(msgspec.Struct, frozen=True):
    """Those that wait, or (`failed`) those that could not be published when it was time; and which page of them."""

    failed: bool = False
    cursor: Cursor | None = None
    limit: PageLimit = 100


class ScheduledPage(msgspec.Struct, frozen=True):
    """Messages in the order in which they were scheduled. `next` is null at the end."""

    scheduled: list[Scheduled]
    next: str | None


def scheduled_routes(services: Services, clock: Callable[[], float] = time.time) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_scheduled", __name__, url_prefix="/v1/server/scheduled")
    schedule = services.backend.schedule

    @routes.post("")
    @about("scheduled messages")
    @document_request(LaterMessage)
    @document_headers(MessageHeaders)
    @document_response(Scheduled, 201)
    async def put() -> Response:
        """Publish a message later. It is kept until then, whatever happens to this node."""
        caller = await caller_of(services)
        body = await read_body(LaterMessage)
        if (body.at is None) == (body.delay_seconds is None):
            raise ApiError(ErrorCode.BAD_REQUEST, "give `at` or `delay_seconds`")
        at = body.at if body.at is not None else int((clock() + (body.delay_seconds or 0.0)) * 1000)
        key, _ = key_of(body.key, request.headers.get("Idempotency-Key"))
        event = NewEvent(body.channel, key, body_of(body.data), body.sender)
        return answer(await schedule.put(caller, event, at, body.ttl_seconds), 201)

    @routes.get("")
    @about("scheduled messages")
    @document_querystring(ScheduledQuery)
    @document_response(ScheduledPage)
    async def page() -> Response:
        """List the messages that wait, or that could not be published."""
        caller = await caller_of(services)
        asked = read_query(ScheduledQuery)
        kind = f"scheduled {asked.failed}"
        after = decode_cursor(kind, asked.cursor, str)
        found, end = await schedule.page(
            caller, failed=asked.failed, after=after, limit=page_size(services, asked.limit)
        )
        return kept_answer(ScheduledPage(found, None if end is None else encode_cursor(kind, end)))

    @routes.delete("/<event_id>")
    @about("scheduled messages")
    async def cancel(event_id: str) -> Response:
        """Forget a message that was not published yet."""
        await schedule.cancel(await caller_of(services), event_id)
        return nothing()

    return routes
