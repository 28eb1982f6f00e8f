"""`/v1/presence` and `/v1/channels/…/presence`: who is there."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, security_scheme, tag

from chatd.api.exchange import allowed, json_response, read_query, speaker
from chatd.api.services import Services
from chatd.reading import ChannelPresence
from protocol.messages import UserState


class PresenceQuery(msgspec.Struct, frozen=True):
    """The users asked about, each as a parameter `user` of its own."""

    user: Annotated[list[str], Meta(min_length=1, max_length=1000)]


class PresenceOfUsers(msgspec.Struct, frozen=True):
    """In what state these users are."""

    users: list[UserState]


def presence_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("presence", __name__, url_prefix="/v1")
    realtime = services.realtime

    @routes.get("/channels/<channel>/presence")
    @tag(["presence"])
    @security_scheme([{"bearer": []}])
    @document_response(ChannelPresence)
    async def channel_presence(channel: str) -> Response:
        """Say how many users read a channel, and who they are where it lists them."""
        principal = await speaker(services)
        return json_response(allowed(await realtime.channel_presence(principal, channel)))

    @routes.get("/presence")
    @tag(["presence"])
    @security_scheme([{"bearer": []}])
    @document_querystring(PresenceQuery)
    @document_response(PresenceOfUsers)
    async def presence() -> Response:
        """Say in what state some users are."""
        principal = await speaker(services)
        asked = read_query(PresenceQuery)
        return json_response(PresenceOfUsers(allowed(await realtime.user_presence(principal, asked.user))))

    return routes
