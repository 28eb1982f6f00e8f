"""`/v1/server/presence` and `/v1/server/channels/…/presence`: who is there."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response

from chatd.api.exchange import read_body
from chatd.api.server.asking import about, answer, caller_of, kept_answer
from chatd.api.services import Services
from chatd.api.v1.presence import PresenceOfUsers
from chatd.reading import ChannelPresence


class UserNames(msgspec.Struct, frozen=True):
    """The users asked about."""

    users: Annotated[list[str], Meta(min_length=1, max_length=1000)]


def presence_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("server_presence", __name__, url_prefix="/v1/server")
    seeing = services.backend.seeing

    @routes.post("/presence")
    @about("presence")
    @document_request(UserNames)
    @document_response(PresenceOfUsers)
    async def presence() -> Response:
        """Say in what state up to 1,000 users are."""
        caller = await caller_of(services)
        asked = await read_body(UserNames)
        return answer(PresenceOfUsers(await seeing.presence(caller, asked.users)))

    @routes.get("/channels/<channel>/presence")
    @about("presence")
    @document_response(ChannelPresence)
    async def channel_presence(channel: str) -> Response:
        """Say how many users are in a channel, and who they are where it lists them."""
        caller = await caller_of(services)
        return kept_answer(await seeing.channel_presence(caller, channel))

    return routes
