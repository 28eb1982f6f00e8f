"""`/v1/server/channels` and `/v1/server/namespaces`: what channels there are, who belongs to them, what they may do."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_querystring, document_request, document_response

from chatd.api.exchange import nothing, read_body, read_query
from chatd.api.problems import ApiError
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
from chatd.backend.seeing import ChannelInfo, OpenChannel
from chatd.config import Namespace
from protocol.codes import ErrorCode
from storage.records import Role

RoleName = Literal["owner", "admin", "member"]


class ChannelQuery(msgspec.Struct, frozen=True):
    """Which channels, and which page of them."""

    namespace: str | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 100


class ChannelPage(msgspec.Struct, frozen=True):
    """Channels with subscribers on this node, by name. `next` is null at the end."""

    channels: list[OpenChannel]
    next: str | None


class MemberRoles(msgspec.Struct, frozen=True):
    """Roles by user. When a channel is made without an owner, the first by name owns it."""

    members: dict[str, RoleName]


class MemberChange(msgspec.Struct, frozen=True):
    """Users to add or to give another role, and users to take out."""

    put: dict[str, RoleName] = {}
    remove: Annotated[list[str], Meta(max_length=1000)] = []


class Namespaces(msgspec.Struct, frozen=True):
    """Every key of every namespace, as it is in force."""

    namespaces: dict[str, Namespace]


def channel_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_channels", __name__, url_prefix="/v1/server")
    backend = services.backend

    @routes.get("/channels")
    @about("channels")
    @document_querystring(ChannelQuery)
    @document_response(ChannelPage)
    async def channels() -> Response:
        """List the channels that sessions of this node are subscribed to."""
        caller = await caller_of(services)
        asked = read_query(ChannelQuery)
        after = decode_cursor("channels", asked.cursor, str) or ""
        page, more = backend.seeing.channels(caller, asked.namespace, after, page_size(services, asked.limit))
        return kept_answer(ChannelPage(page, encode_cursor("channels", page[-1].channel) if more else None))

    @routes.get("/channels/<channel>")
    @about("channels")
    @document_response(ChannelInfo)
    async def channel(channel: str) -> Response:
        """Say what a channel is, and where it stands."""
        return kept_answer(await backend.seeing.channel(await caller_of(services), channel))

    @routes.get("/channels/<channel>/members")
    @about("members")
    @document_response(MemberRoles)
    async def members(channel: str) -> Response:
        """List the members of a channel and their roles."""
        roles = await backend.membership.members(await caller_of(services), channel)
        return kept_answer({"members": dict(sorted(roles.items()))})

    @routes.put("/channels/<channel>/members")
    @about("members")
    @document_request(MemberRoles)
    async def create(channel: str) -> Response:
        """Make a channel with these members."""
        caller = await caller_of(services)
        body = await read_body(MemberRoles)
        await backend.membership.create(caller, channel, {user: Role(role) for user, role in body.members.items()})
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
        roles = await backend.membership.change(caller, channel, put, body.remove)
        return answer({"members": dict(sorted(roles.items()))})

    @routes.get("/namespaces")
    @about("configuration")
    @document_response(Namespaces)
    async def namespaces() -> Response:
        """Give the namespaces in force, with every key."""
        return kept_answer({"namespaces": backend.seeing.namespaces(await caller_of(services))})

    return routes
