"""`/v1/server/channels/…/members`: who belongs to a channel."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response

from chatd.api.exchange import nothing, read_body
from chatd.api.problems import ApiError
from chatd.api.server.asking import about, answer, caller_of, kept_answer
from chatd.api.services import Services
from protocol.codes import ErrorCode
from storage.records import Role

RoleName = Literal["owner", "admin", "member"]


class MemberRoles(msgspec.Struct, frozen=True):
    """Roles by user. When a channel is made without an owner, the first by name owns it."""

    members: dict[str, RoleName]


class MemberChange(msgspec.Struct, frozen=True):
    """Users to add or to give another role, and users to take out."""

    put: dict[str, RoleName] = {}
    remove: Annotated[list[str], Meta(max_length=1000)] = []


def member_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_members", __name__, url_prefix="/v1/server")
    membership = services.backend.membership

    @routes.get("/channels/<channel>/members")
    @about("members")
    @document_response(MemberRoles)
    async def members(channel: str) -> Response:
        """List the members of a channel and their roles."""
        roles = await membership.members(await caller_of(services), channel)
        return kept_answer({"members": dict(sorted(roles.items()))})

    @routes.put("/channels/<channel>/members")
    @about("members")
    @document_request(MemberRoles)
    async def create(channel: str) -> Response:
        """Make a channel with these members."""
        caller = await caller_of(services)
        body = await read_body(MemberRoles)
        await membership.create(caller, channel, {user: Role(role) for user, role in body.members.items()})
        return nothing()

    @routes.patch("/channels/<channel>/members")
    @about("members")
    @document_request(MemberChange)
    @document_response(MemberRoles)
    async def change(channel: str) -> Response:
        """Add members, change their roles, take members out; answers who belongs to the channel then."""
        caller = await caller_of(services)
        body = await read_body(MemberChange)
        if not body.put and not body.remove:
            raise ApiError(ErrorCode.BAD_REQUEST, "nothing is to be changed")
        put = {user: Role(role) for user, role in body.put.items()}
        roles = await membership.change(caller, channel, put, body.remove)
        return answer({"members": dict(sorted(roles.items()))})

    return routes
