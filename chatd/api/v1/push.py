"""`/v1/devices/{device}/push` and `/v1/push/key`: where pushes go."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response, security_scheme, tag

from chatd.api.exchange import json_response, nothing, read_body, speaker
from chatd.api.problems import ApiError
from chatd.api.services import Services
from chatd.push.preferences import Locale
from protocol.codes import ErrorCode
from protocol.names import DeviceId
from storage.records import Provider


class PushToken(msgspec.Struct, frozen=True):
    """Where pushes for a device go.

    `webpush`: the subscription's endpoint, with `p256dh` and `auth` in `details`. `apns`: the device token in
    hexadecimal, with `kind` ("alert", "voip" or "liveactivity"), `activity` and `environment` ("sandbox") in `details`.
    `fcm`: the registration token. `webhook`: whatever the operator's program knows the device by.
    """

    provider: Provider
    token: Annotated[str, Meta(min_length=1, max_length=4096)]
    details: dict[str, str] = {}
    locale: Locale = ""


class PushKey(msgspec.Struct, frozen=True):
    """What a page gives to `pushManager.subscribe` as `applicationServerKey`."""

    key: str


def push_routes(services: Services) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("push", __name__, url_prefix="/v1")
    devices = services.push_devices

    @routes.put("/devices/<device>/push")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    @document_request(PushToken)
    async def register(device: str) -> Response:
        """Say where pushes for one of your devices go; replaces its older token of the same kind."""
        principal = await speaker(services)
        given = await read_body(PushToken)
        await devices.register(principal, DeviceId(device), given.provider, given.token, given.details, given.locale)
        return nothing()

    @routes.delete("/devices/<device>/push")
    @tag(["push"])
    @security_scheme([{"bearer": []}])
    async def remove(device: str) -> Response:
        """Push to one of your devices no more."""
        await devices.remove(await speaker(services), DeviceId(device))
        return nothing()

    @routes.get("/push/key")
    @tag(["push"])
    @document_response(PushKey)
    async def key() -> Response:
        """Return the public key that browsers subscribe with."""
        if services.push_key is None:
            raise ApiError(ErrorCode.NOT_FOUND, "this server does not push to browsers")
        return json_response(PushKey(services.push_key))

    return routes
