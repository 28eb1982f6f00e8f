"""`/v1/users` and `/v1/devices`: who has an account, and where one is logged in."""

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, security_scheme, tag

from chatd.api.exchange import json_response, nothing, speaker
from chatd.api.services import Services
from protocol.names import DeviceId, UserId


class User(msgspec.Struct, frozen=True):
    """One account. `created_at` is in Unix milliseconds."""

    user: UserId
    is_guest: bool
    created_at: int


class Device(msgspec.Struct, frozen=True):
    """One device of yours; `current` is the one that asks. Times are Unix milliseconds."""

    device: DeviceId
    title: str
    created_at: int
    seen_at: int
    current: bool


class DeviceList(msgspec.Struct, frozen=True):
    """Your devices, the one that was here last first."""

    devices: list[Device]


def user_routes(services: Services) -> Blueprint:
    """Make the routes of `/v1/users` and `/v1/devices`."""
    routes = Blueprint("users", __name__, url_prefix="/v1")
    accounts = services.accounts

    @routes.get("/users/<user>")
    @tag(["users"])
    @security_scheme([{"bearer": []}])
    @document_response(User)
    async def user(user: str) -> Response:
        """Look up an account by its name."""
        await speaker(services)
        found = await accounts.user(user)
        return json_response(User(found.user, found.is_guest, found.created_at))

    @routes.get("/devices")
    @tag(["users"])
    @security_scheme([{"bearer": []}])
    @document_response(DeviceList)
    async def devices() -> Response:
        """List where you are logged in."""
        principal = await speaker(services)
        return json_response(
            DeviceList(
                [
                    Device(one.device, one.title, one.created_at, one.seen_at, one.device == principal.device)
                    for one in await accounts.devices(principal)
                ]
            )
        )

    @routes.delete("/devices/<device>")
    @tag(["users"])
    @security_scheme([{"bearer": []}])
    async def revoke(device: str) -> Response:
        """Revoke one of your devices; its sessions close."""
        await accounts.revoke(await speaker(services), DeviceId(device))
        return nothing()

    return routes
