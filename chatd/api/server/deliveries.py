"""`/v1/server/webhooks` and `/v1/server/push`: what waits, what was given up, and trying it again."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_querystring, document_request, document_response

from chatd.api.exchange import nothing, read_body, read_query
from chatd.api.problems import ApiError
from chatd.api.server.asking import (
    PageQuery,
    about,
    answer,
    caller_of,
    decode_cursor,
    encode_cursor,
    kept_answer,
    page_size,
)
from chatd.api.services import Services
from chatd.push.operations import DeadPush, PushQueue
from chatd.webhooks.operations import DeadLetter, EndpointState, TestResult
from protocol.codes import ErrorCode

_LETTERS = 1000

_Letter = TypeVar("_Letter", DeadLetter, DeadPush)


class Endpoints(msgspec.Struct, frozen=True):
    """Every endpoint of webhooks."""

    endpoints: list[EndpointState]


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Requests that were given up, the oldest first. `next` is null at the end."""

    letters: list[DeadLetter]
    next: str | None


class PushQueues(msgspec.Struct, frozen=True):
    """Every queue of pushes."""

    queues: list[PushQueue]


class DeadPushPage(msgspec.Struct, frozen=True):
    """Pushes that were given up, the oldest first. `next` is null at the end."""

    letters: list[DeadPush]
    next: str | None


class Replay(msgspec.Struct, frozen=True):
    """Which of what was given up is to be tried again: these letters, or `all`."""

    letters: Annotated[list[str], Meta(max_length=_LETTERS)] = []
    all: bool = False


class Replayed(msgspec.Struct, frozen=True):
    """How many are tried again; letters that were not there are not counted."""

    count: int


def delivery_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_deliveries", __name__, url_prefix="/v1/server")
    deliveries = services.deliveries

    @routes.get("/webhooks")
    @about("webhooks")
    @document_response(Endpoints)
    async def endpoints() -> Response:
        """List the endpoints of webhooks: what waits for each, what was given up, and whether it is gone."""
        return kept_answer(Endpoints(await deliveries.endpoints(await caller_of(services))))

    @routes.get("/webhooks/<name>/dead")
    @about("webhooks")
    @document_querystring(PageQuery)
    @document_response(DeadLetterPage)
    async def dead_letters(name: str) -> Response:
        """List the requests to an endpoint that were given up."""
        caller = await caller_of(services)
        read = partial(deliveries.dead_letters, caller, name)
        return kept_answer(DeadLetterPage(*await _page(services, f"dead webhooks {name}", read)))

    @routes.post("/webhooks/<name>/replay")
    @about("webhooks")
    @document_request(Replay)
    @document_response(Replayed)
    async def replay(name: str) -> Response:
        """Send requests again that were given up."""
        caller = await caller_of(services)
        return answer(Replayed(await deliveries.replay(caller, name, _wanted(await read_body(Replay)))))

    @routes.post("/webhooks/<name>/test")
    @about("webhooks")
    @document_response(TestResult)
    async def test(name: str) -> Response:
        """Send an event of type `webhook.test` now, past the queue, and say what the endpoint answered."""
        return answer(await deliveries.test(await caller_of(services), name))

    @routes.post("/webhooks/<name>/enable")
    @about("webhooks")
    async def enable(name: str) -> Response:
        """Send to an endpoint again that had answered that it is gone (410)."""
        await deliveries.enable(await caller_of(services), name)
        return nothing()

    @routes.get("/push")
    @about("pushes")
    @document_response(PushQueues)
    async def push_queues() -> Response:
        """List the queues of pushes: what waits in each, and what was given up."""
        return kept_answer(PushQueues(await deliveries.push_queues(await caller_of(services))))

    @routes.get("/push/<queue>/dead")
    @about("pushes")
    @document_querystring(PageQuery)
    @document_response(DeadPushPage)
    async def dead_pushes(queue: str) -> Response:
        """List the pushes of a queue (`plans`, or a provider) that were given up."""
        caller = await caller_of(services)
        read = partial(deliveries.dead_pushes, caller, queue)
        return kept_answer(DeadPushPage(*await _page(services, f"dead pushes {queue}", read)))

    @routes.post("/push/<queue>/replay")
    @about("pushes")
    @document_request(Replay)
    @document_response(Replayed)
    async def replay_pushes(queue: str) -> Response:
        """Try pushes again that were given up; those whose message is read or too old by now just end."""
        caller = await caller_of(services)
        return answer(Replayed(await deliveries.replay_pushes(caller, queue, _wanted(await read_body(Replay)))))

    return routes


async def _page(
    services: Services, kind: str, read: Callable[[str | None, int], Awaitable[list[_Letter]]]
) -> tuple[list[_Letter], str | None]:
    """Read the page that is asked for of what was given up; return it, and the cursor of the next one."""
    asked = read_query(PageQuery)
    limit = page_size(services, asked.limit)
    found = await read(decode_cursor(kind, asked.cursor, str), limit)
    return found, encode_cursor(kind, found[-1].letter) if len(found) == limit else None


def _wanted(asked: Replay) -> list[str] | None:
    """Return the letters that are meant; None for all.

    Raises:
        ApiError: Neither or both are named.
    """
    if bool(asked.letters) == asked.all:
        raise ApiError(ErrorCode.BAD_REQUEST, "give `letters`, or `all`")
    return None if asked.all else asked.letters
