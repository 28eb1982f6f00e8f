"""`/v1/server/keys`: who may do what."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response

from chatd.api.exchange import nothing, read_body
from chatd.api.server.asking import about, answer, caller_of, kept_answer
from chatd.api.services import Services
from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.backend.keyring import MAX_NAMESPACES, TITLE_LENGTH
from chatd.rights import Denied
from protocol.codes import ErrorCode
from protocol.messages import Number
from storage.records import ApiKeyRecord


class ApiKey(msgspec.Struct, frozen=True):
    """One API key, without its secret. Times are Unix milliseconds."""

    key_id: str
    title: str
    actions: list[str]
    namespaces: list[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class ApiKeyList(msgspec.Struct, frozen=True):
    """Every key, the oldest first."""

    keys: list[ApiKey]


class NewApiKey(msgspec.Struct, frozen=True):
    """What a key is for, what it may do, and in which namespaces; `*` is all. It may do no more than who makes it."""

    title: Annotated[str, Meta(min_length=1, max_length=TITLE_LENGTH)]
    actions: Annotated[list[str], Meta(min_length=1, max_length=len(BackendAction) + 1)]
    namespaces: Annotated[list[str], Meta(min_length=1, max_length=MAX_NAMESPACES)]
    expires_at: Number | None = None


class Rotation(msgspec.Struct, frozen=True):
    """For how long the old key is good beside the new one."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=31_536_000)] = 86_400.0


class ShownApiKey(msgspec.Struct, frozen=True):
    """A key that was just made. `secret` is the whole text of it, shown this once."""

    key: ApiKey
    secret: str


def key_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_keys", __name__, url_prefix="/v1/server")
    backend = services.backend
    keyring = backend.keyring

    @routes.get("/keys")
    @about("keys")
    @document_response(ApiKeyList)
    async def listed() -> Response:
        """List every API key."""
        (await caller_of(services)).require(BackendAction.KEYS)
        return kept_answer(ApiKeyList([_shown(record) for record in await keyring.all()]))

    @routes.post("/keys")
    @about("keys")
    @document_request(NewApiKey)
    @document_response(ShownApiKey, 201)
    async def create() -> Response:
        """Make an API key. Its text is in this answer and nowhere else."""
        caller = await caller_of(services)
        body = await read_body(NewApiKey)
        check_no_more(caller, body.actions, body.namespaces)
        record, text = await keyring.create(body.title, body.actions, body.namespaces, body.expires_at)
        backend.keys.take(record)
        await backend.audit.note(caller, "key.create", record.key_id, title=record.title)
        return answer(ShownApiKey(_shown(record), text), 201)

    @routes.post("/keys/<key_id>/rotate")
    @about("keys")
    @document_request(Rotation)
    @document_response(ShownApiKey, 201)
    async def rotate(key_id: str) -> Response:
        """Make a key with the same rights; the old one ends after the overlap."""
        caller = await caller_of(services)
        body = await read_body(Rotation)
        old = await keyring.find(key_id)
        check_no_more(caller, old.actions, old.namespaces)
        record, text = await keyring.rotate(key_id, body.overlap_seconds)
        backend.keys.take(record)
        await backend.keys.refresh()
        await backend.audit.note(caller, "key.rotate", key_id, new=record.key_id)
        return answer(ShownApiKey(_shown(record), text), 201)

    @routes.delete("/keys/<key_id>")
    @about("keys")
    async def revoke(key_id: str) -> Response:
        """End a key now; its server sessions close."""
        caller = await caller_of(services)
        caller.require(BackendAction.KEYS_CHANGE)
        backend.keys.take(await keyring.revoke(key_id))
        await backend.audit.note(caller, "key.revoke", key_id)
        return nothing()

    return routes


def check_no_more(
    caller: Caller, actions: list[str] | tuple[str, ...], namespaces: list[str] | tuple[str, ...]
) -> None:
    """Return if the caller may make a key of these rights: nobody gives what he does not have.

    Raises:
        Denied: The caller may make no keys, or has less than this.
    """
    caller.require(BackendAction.KEYS_CHANGE)
    wanted = set(BackendAction) if "*" in actions else {action for action in BackendAction if action.value in actions}
    if not wanted <= set(caller.actions):
        raise Denied(ErrorCode.FORBIDDEN, "a key may do no more than who makes it")
    if caller.namespaces is not None and not set(namespaces) <= set(caller.namespaces):
        raise Denied(ErrorCode.FORBIDDEN, "a key may reach no more namespaces than who makes it")


def _shown(record: ApiKeyRecord) -> ApiKey:
    return ApiKey(
        key_id=record.key_id,
        title=record.title,
        actions=list(record.actions),
        namespaces=list(record.namespaces),
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        last_used_at=record.last_used_at,
    )
