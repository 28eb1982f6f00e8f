"""`/v1/server/audit`: who did what."""

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response

from chatd.api.exchange import read_query
from chatd.api.server.asking import PageQuery, about, caller_of, decode_cursor, encode_cursor, kept_answer, page_size
from chatd.api.services import Services
from chatd.backend.actions import BackendAction
from storage.records import AuditRecord


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what to what, and when (Unix milliseconds)."""

    at: int
    actor: str
    action: str
    target: str
    details: dict[str, str]


class AuditPage(msgspec.Struct, frozen=True):
    """What was done, the newest first. `next` is null at the end."""

    entries: list[AuditEntry]
    next: str | None


def audit_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_audit", __name__, url_prefix="/v1/server")

    @routes.get("/audit")
    @about("audit")
    @document_querystring(PageQuery)
    @document_response(AuditPage)
    async def audit() -> Response:
        """List what keys and people changed, the newest first."""
        (await caller_of(services)).require(BackendAction.AUDIT)
        asked = read_query(PageQuery)
        limit = page_size(services, asked.limit)
        found = await services.backend.audit.page(decode_cursor("audit", asked.cursor, int), limit + 1)
        following = encode_cursor("audit", found[limit - 1].audit_id) if len(found) > limit else None
        return kept_answer(AuditPage([_entry(record) for record in found[:limit]], following))

    return routes


def _entry(record: AuditRecord) -> AuditEntry:
    return AuditEntry(record.at, record.actor, record.action, record.target, record.details)
