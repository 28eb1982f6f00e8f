"""`/v1/server/users`: accounts made and kept by backends, and what people may do."""

from typing import Annotated

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
from chatd.backend.people import ImportedUser
from protocol.codes import ErrorCode
from protocol.names import UserId
from storage.records import UserRecord


class Account(msgspec.Struct, frozen=True):
    """One account, as the server API sees it. `created_at` is in Unix milliseconds."""

    user: UserId
    is_guest: bool
    is_suspended: bool
    has_password: bool
    roles: list[str]
    created_at: int


class AccountPage(msgspec.Struct, frozen=True):
    """Accounts, in an order of the store's own. `next` is null at the end."""

    users: list[Account]
    next: str | None


class NewAccount(msgspec.Struct, frozen=True):
    """An account to make. Without a password nobody can log in to it."""

    name: str
    password: str | None = None


class Import(msgspec.Struct, frozen=True):
    """Accounts from elsewhere, with the hashes of their passwords."""

    users: Annotated[list[ImportedUser], Meta(min_length=1, max_length=1000)]


class ImportAnswer(msgspec.Struct, frozen=True):
    """For each account `created`, `exists`, or why it cannot be made; in their order."""

    outcomes: list[str]


class RoleNames(msgspec.Struct, frozen=True):
    """All roles that the person shall have: admin, moderator, support, auditor."""

    roles: Annotated[list[str], Meta(max_length=10)]


def user_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_users", __name__, url_prefix="/v1/server/users")
    people = services.backend.people

    @routes.get("")
    @about("users")
    @document_querystring(PageQuery)
    @document_response(AccountPage)
    async def users() -> Response:
        """List all accounts."""
        caller = await caller_of(services)
        asked = read_query(PageQuery)
        after = decode_cursor("users", asked.cursor, str)
        page, more = await people.page(
            caller, UserId(after) if after is not None else None, page_size(services, asked.limit)
        )
        following = encode_cursor("users", page[-1].user) if more else None
        return kept_answer(AccountPage([_account(one) for one in page], following))

    @routes.post("")
    @about("users")
    @document_request(NewAccount)
    @document_response(Account, 201)
    async def create() -> Response:
        """Make an account."""
        caller = await caller_of(services)
        body = await read_body(NewAccount)
        return answer(_account(await people.create(caller, body.name, body.password)), 201)

    @routes.post("/import")
    @about("users")
    @document_request(Import)
    @document_response(ImportAnswer)
    async def import_many() -> Response:
        """Make up to 1,000 accounts with the hashes of their passwords (argon2, PHC format)."""
        caller = await caller_of(services)
        body = await read_body(Import)
        most = services.config.backend.import_users
        if len(body.users) > most:
            raise ApiError(ErrorCode.BAD_REQUEST, f"one request may import {most} accounts")
        return answer(ImportAnswer(await people.import_many(caller, body.users)))

    @routes.get("/<user>")
    @about("users")
    @document_response(Account)
    async def get(user: str) -> Response:
        """Look up an account."""
        return kept_answer(_account(await people.get(await caller_of(services), user)))

    @routes.delete("/<user>")
    @about("users")
    async def erase(user: str) -> Response:
        """Erase an account and all that belongs to it; what it wrote stays in the channels."""
        await people.erase(await caller_of(services), user)
        return nothing()

    @routes.post("/<user>/suspend")
    @about("users")
    async def suspend(user: str) -> Response:
        """Let an account in no more: its devices are revoked and its sessions close."""
        await people.suspend(await caller_of(services), user)
        return nothing()

    @routes.post("/<user>/unsuspend")
    @about("users")
    async def unsuspend(user: str) -> Response:
        """Let an account in again; its owner logs in anew."""
        await people.unsuspend(await caller_of(services), user)
        return nothing()

    @routes.put("/<user>/roles")
    @about("users")
    @document_request(RoleNames)
    @document_response(Account)
    async def set_roles(user: str) -> Response:
        """Say what a person may do by the server API."""
        caller = await caller_of(services)
        body = await read_body(RoleNames)
        return answer(_account(await people.set_roles(caller, user, body.roles)))

    return routes


def _account(record: UserRecord) -> Account:
    return Account(
        user=record.user,
        is_guest=record.is_guest,
        is_suspended=record.is_suspended,
        has_password=record.password_hash is not None,
        roles=list(record.roles),
        created_at=record.created_at,
    )
