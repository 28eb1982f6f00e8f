"""`/v1/server/sessions` and what belongs to them: who is connected, who shall not be, who reads what."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_querystring, document_request, document_response

from chatd.api.exchange import nothing, read_body, read_query
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
from chatd.api.services import Services
from protocol.messages import SessionState

Reason = Annotated[str, Meta(max_length=100, description="what the close frame says")]


class SessionQuery(msgspec.Struct, frozen=True):
    """Whose sessions (all without a user), and which page of them."""

    user: str | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 100


class SessionPage(msgspec.Struct, frozen=True):
    """Sessions, by their ids. `next` is null at the end."""

    sessions: list[SessionState]
    next: str | None


class Ending(msgspec.Struct, frozen=True):
    """How sessions end: `reconnect` lets them come back by themselves (4007), else they stay away (4504)."""

    reconnect: bool = False
    reason: Reason = ""


class Subscription(msgspec.Struct, frozen=True):
    """A subscribed channel."""

    channel: str


class Concerned(msgspec.Struct, frozen=True):
    """How many sessions or devices it concerned."""

    count: int


class LeaveRequest(msgspec.Struct, frozen=True):
    """Who shall be able to subscribe to which channel, and for how long the token is good."""

    user: str
    channel: str
    seconds: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class LeaveToken(msgspec.Struct, frozen=True):
    """A token for `subscribe`, good for `expires_in` seconds."""

    token: str
    expires_in: int


def session_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_sessions", __name__, url_prefix="/v1/server")
    sessions = services.backend.sessions

    @routes.get("/sessions")
    @about("sessions")
    @document_querystring(SessionQuery)
    @document_response(SessionPage)
    async def listed() -> Response:
        """List sessions, of one user or of all."""
        caller = await caller_of(services)
        asked = read_query(SessionQuery)
        after = decode_cursor("sessions", asked.cursor, str) or ""
        page, more = await sessions.page(caller, asked.user, after, page_size(services, asked.limit))
        return kept_answer(SessionPage(page, encode_cursor("sessions", page[-1].session) if more else None))

    @routes.delete("/sessions/<session>")
    @about("sessions")
    @document_querystring(Ending)
    async def end(session: str) -> Response:
        """End one session."""
        caller = await caller_of(services)
        how = read_query(Ending)
        await sessions.disconnect(caller, session=session, reconnect=how.reconnect, reason=how.reason)
        return nothing()

    @routes.post("/users/<user>/disconnect")
    @about("sessions")
    @document_request(Ending)
    @document_response(Concerned)
    async def disconnect(user: str) -> Response:
        """End all sessions of a user, who may come back with the same token."""
        caller = await caller_of(services)
        how = await read_body(Ending)
        return answer(
            Concerned(await sessions.disconnect(caller, user=user, reconnect=how.reconnect, reason=how.reason))
        )

    @routes.delete("/users/<user>/devices")
    @about("sessions")
    @document_response(Concerned)
    async def revoke_all(user: str) -> Response:
        """Log a user out everywhere: all devices are revoked, their sessions close."""
        return answer(Concerned(await sessions.revoke(await caller_of(services), user, None)))

    @routes.delete("/users/<user>/devices/<device>")
    @about("sessions")
    async def revoke(user: str, device: str) -> Response:
        """Revoke one device of a user; its sessions close."""
        await sessions.revoke(await caller_of(services), user, device)
        return nothing()

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
