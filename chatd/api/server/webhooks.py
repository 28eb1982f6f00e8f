"""`/v1/server/webhooks`: what waits for each endpoint, what was given up, and trying it again."""

from functools import partial

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_request, document_response

from chatd.api.exchange import nothing, read_body
from chatd.api.server.asking import PageQuery, about, answer, caller_of, kept_answer
from chatd.api.server.letters import Replay, Replayed, page_of, wanted
from chatd.api.services import Services
from chatd.webhooks.operations import DeadLetter, EndpointState, TestResult


class Endpoints(msgspec.Struct, frozen=True):
    """Every endpoint of webhooks."""

    endpoints: list[EndpointState]


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Requests that were given up, the oldest first. `next` is null at the end."""

    letters: list[DeadLetter]
    next: str | None


def webhook_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_webhooks", __name__, url_prefix="/v1/server/webhooks")
    deliveries = services.deliveries

    @routes.get("")
    @about("webhooks")
    @document_response(Endpoints)
    async def endpoints() -> Response:
        """List the endpoints of webhooks: what waits for each, what was given up, and whether it is gone."""
        return kept_answer(Endpoints(await deliveries.endpoints(await caller_of(services))))

    @routes.get("/<name>/dead")
    @about("webhooks")
    @document_querystring(PageQuery)
    @document_response(DeadLetterPage)
    async def dead_letters(name: str) -> Response:
        """List the requests to an endpoint that were given up."""
        caller = await caller_of(services)
        read = partial(deliveries.dead_letters, caller, name)
        return kept_answer(DeadLetterPage(*await page_of(services, f"dead webhooks {name}", read)))

    @routes.post("/<name>/replay")
    @about("webhooks")
    @document_request(Replay)
    @document_response(Replayed)
    async def replay(name: str) -> Response:
        """Send requests again that were given up."""
        caller = await caller_of(services)
        return answer(Replayed(await deliveries.replay(caller, name, wanted(await read_body(Replay)))))

    @routes.post("/<name>/test")
    @about("webhooks")
    @document_response(TestResult)
    async def test(name: str) -> Response:
        """Send an event of type `webhook.test` now, past the queue, and say what the endpoint answered."""
        return answer(await deliveries.test(await caller_of(services), name))

    @routes.post("/<name>/enable")
    @about("webhooks")
    async def enable(name: str) -> Response:
        """Send to an endpoint again that had answered that it is gone (410)."""
        await deliveries.enable(await caller_of(services), name)
        return nothing()

    return routes
