"""What backends decide of subscriptions: which channels a user's sessions read, and which they may."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response

from chatd.api.exchange import read_body
from chatd.api.server.asking import about, answer, caller_of
from chatd.api.server.sessions import Concerned
from chatd.api.services import Services


class Subscription(msgspec.Struct, frozen=True):
    """A subscribed channel."""

    channel: str


class LeaveRequest(msgspec.Struct, frozen=True):
    """Who shall be able to subscribe to which channel, and for how long the token is good."""

    user: str
    channel: str
    seconds: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class LeaveToken(msgspec.Struct, frozen=True):
    """A token for `subscribe`, good for `expires_in` seconds."""

    token: str
    expires_in: int


def subscription_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_subscriptions", __name__, url_prefix="/v1/server")
    sessions = services.backend.sessions

    @routes.post("/users/<user>/subscribe")
    @about("sessions")
    @document_request(Subscription)
    @document_response(Concerned)
    async def subscribe(user: str) -> Response:
        """Subscribe every session of a user to a channel, whether the user may subscribe to it or not."""
        caller = await caller_of(services)
        body = await read_body(Subscription)
        return answer(Concerned(await sessions.subscribe(caller, user, body.channel)))

    @routes.post("/users/<user>/unsubscribe")
    @about("sessions")
    @document_request(Subscription)
    @document_response(Concerned)
    async def unsubscribe(user: str) -> Response:
        """End the subscriptions of a user to a channel."""
        caller = await caller_of(services)
        body = await read_body(Subscription)
        return answer(Concerned(await sessions.unsubscribe(caller, user, body.channel)))

    @routes.post("/subscription-tokens")
    @about("sessions")
    @document_request(LeaveRequest)
    @document_response(LeaveToken)
    async def leave() -> Response:
        """Sign a token that lets one user subscribe to one channel."""
        caller = await caller_of(services)
        body = await read_body(LeaveRequest)
        return answer(LeaveToken(*services.backend.leaves.issue(caller, body.user, body.channel, body.seconds)))

    return routes
