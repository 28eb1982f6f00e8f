"""`/v1/server/channels` and `/v1/server/namespaces`: what channels there are, and what they may do."""

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response

from chatd.api.exchange import read_query
from chatd.api.server.asking import (
    Cursor,
    PageLimit,
    about,
    caller_of,
    decode_cursor,
    encode_cursor,
    kept_answer,
    page_size,
)
from chatd.api.services import Services
from chatd.backend.seeing import ChannelInfo
from chatd.cluster.orders import OpenChannel
from chatd.config import Namespace


class ChannelQuery(msgspec.Struct, frozen=True):
    """Which channels, and which page of them."""

    namespace: str | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 100


class ChannelPage(msgspec.Struct, frozen=True):
    """Channels with subscribers, by name. `next` is null at the end."""

    channels: list[OpenChannel]
    next: str | None


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
        """List the channels that sessions are subscribed to, on all nodes."""
        caller = await caller_of(services)
        asked = read_query(ChannelQuery)
        after = decode_cursor("channels", asked.cursor, str) or ""
        page, more = await backend.seeing.channels(caller, asked.namespace, after, page_size(services, asked.limit))
        return kept_answer(ChannelPage(page, encode_cursor("channels", page[-1].channel) if more else None))

    @routes.get("/channels/<channel>")
    @about("channels")
    @document_response(ChannelInfo)
    async def channel(channel: str) -> Response:
        """Say what a channel is, and where it stands."""
        return kept_answer(await backend.seeing.channel(await caller_of(services), channel))

    @routes.get("/namespaces")
    @about("configuration")
    @document_response(Namespaces)
    async def namespaces() -> Response:
        """Give the namespaces in force, with every key."""
        return kept_answer({"namespaces": backend.seeing.namespaces(await caller_of(services))})

    return routes
