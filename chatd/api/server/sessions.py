"""`/v1/server/sessions` and `/v1/server/users/…/devices`: who is connected, and who shall not be."""

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


class Concerned(msgspec.Struct, frozen=True):
    """How many sessions or devices it concerned."""

    count: int


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

    return routes
