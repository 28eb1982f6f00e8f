"""`/v1/server/push`: what waits in each queue of pushes, what was given up, and trying it again."""

from functools import partial

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_request, document_response

from chatd.api.exchange import read_body
from chatd.api.server.asking import PageQuery, about, answer, caller_of, kept_answer
from chatd.api.server.letters import Replay, Replayed, page_of, wanted
from chatd.api.services import Services
from chatd.push.operations import DeadPush, PushQueue


class PushQueues(msgspec.Struct, frozen=True):
    """Every queue of pushes."""

    queues: list[PushQueue]


class DeadPushPage(msgspec.Struct, frozen=True):
    """Pushes that were given up, the oldest first. `next` is null at the end."""

    letters: list[DeadPush]
    next: str | None


def push_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_pushes", __name__, url_prefix="/v1/server/push")
    deliveries = services.deliveries

    @routes.get("")
    @about("pushes")
    @document_response(PushQueues)
    async def push_queues() -> Response:
        """List the queues of pushes: what waits in each, and what was given up."""
        return kept_answer(PushQueues(await deliveries.push_queues(await caller_of(services))))

    @routes.get("/<queue>/dead")
    @about("pushes")
    @document_querystring(PageQuery)
    @document_response(DeadPushPage)
    async def dead_pushes(queue: str) -> Response:
        """List the pushes of a queue (`plans`, or a provider) that were given up."""
        caller = await caller_of(services)
        read = partial(deliveries.dead_pushes, caller, queue)
        return kept_answer(DeadPushPage(*await page_of(services, f"dead pushes {queue}", read)))

    @routes.post("/<queue>/replay")
    @about("pushes")
    @document_request(Replay)
    @document_response(Replayed)
    async def replay_pushes(queue: str) -> Response:
        """Try pushes again that were given up; those whose message is read or too old by now just end."""
        caller = await caller_of(services)
        return answer(Replayed(await deliveries.replay_pushes(caller, queue, wanted(await read_body(Replay)))))

    return routes
