"""`/v1/push/preferences`: what users wish of pushes."""

from quart import Blueprint, Response
from quart_schema import document_request, document_response, security_scheme, tag

from chatd.api.exchange import json_response, nothing, read_body, speaker
from chatd.api.problems import ApiError
from chatd.api.services import Services
from chatd.push.preferences import BadWishes, ChannelWishes, Wishes
from protocol.codes import ErrorCode


def preference_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("preferences", __name__, url_prefix="/v1/push/preferences")
    devices = services.push_devices

    @routes.get("")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    @document_response(Wishes)
    async def wishes() -> Response:
        """Return what you wish of all pushes."""
        return json_response(await devices.wishes(await speaker(services), ""))

    @routes.put("")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    @document_request(Wishes)
    async def wish() -> Response:
        """Say what you wish of all pushes; what is left out is not wished any more."""
        await _keep(services, "", Wishes)
        return nothing()

    @routes.get("/<channel>")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    @document_response(ChannelWishes)
    async def channel_wishes(channel: str) -> Response:
        """Return what you wish of one channel's pushes."""
        found = await devices.wishes(await speaker(services), channel)
        return json_response(ChannelWishes(found.muted_until, found.mentions_only))

    @routes.put("/<channel>")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    @document_request(ChannelWishes)
    async def channel_wish(channel: str) -> Response:
        """Say what you wish of one channel's pushes: it counts before what you wish of all."""
        await _keep(services, channel, ChannelWishes)
        return nothing()

    return routes


async def _keep(services: Services, channel: str, kind: type[ChannelWishes]) -> None:
    principal = await speaker(services)
    try:
        await services.push_devices.wish(principal, channel, await read_body(kind))
    except BadWishes as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from error
