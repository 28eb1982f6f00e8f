"""`/v1/auth`: coming in and going out."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_request, document_response, security_scheme, tag

from chatd.accounts.devices import Grant
from chatd.api.exchange import client_address, json_response, nothing, read_body, speaker
from chatd.api.services import Services

AUTH_BLUEPRINT = "auth"
"""What is refused in these routes counts as a refused login."""

Title = Annotated[str, Meta(max_length=64, description="what the user calls this device")]


class Credentials(msgspec.Struct, frozen=True):
    """A name and a password, and what to call the device they are typed on."""

    name: str
    password: str
    title: Title = ""


class GuestRequest(msgspec.Struct, frozen=True):
    """What to call the guest's device."""

    title: Title = ""


class RefreshRequest(msgspec.Struct, frozen=True):
    """The refresh token that the last answer gave."""

    refresh_token: str


class PasswordRequest(msgspec.Struct, frozen=True):
    """The password that is, and the one that shall be."""

    password: str
    new_password: str


def auth_routes(services: Services) -> Blueprint:
    """Make the routes of `/v1/auth`."""
    routes = Blueprint(AUTH_BLUEPRINT, __name__, url_prefix="/v1/auth")
    accounts = services.accounts

    def granted(grant: Grant, method: str) -> Response:
        services.counters.auth_successes[method] += 1
        return json_response(grant)

    @routes.post("/register")
    @tag(["accounts"])
    @document_request(Credentials)
    @document_response(Grant)
    async def register() -> Response:
        """Make an account and log in."""
        body = await read_body(Credentials)
        return granted(await accounts.register(body.name, body.password, body.title), "register")

    @routes.post("/login")
    @tag(["accounts"])
    @document_request(Credentials)
    @document_response(Grant)
    async def login() -> Response:
        """Log in on a new device."""
        body = await read_body(Credentials)
        return granted(await accounts.login(body.name, body.password, client_address(), body.title), "password")

    @routes.post("/guest")
    @tag(["accounts"])
    @document_request(GuestRequest)
    @document_response(Grant)
    async def guest() -> Response:
        """Come in as a guest."""
        body = await read_body(GuestRequest)
        return granted(await accounts.guest(body.title), "guest")

    @routes.post("/refresh")
    @tag(["accounts"])
    @document_request(RefreshRequest)
    @document_response(Grant)
    async def refresh() -> Response:
        """Exchange a refresh token for new tokens."""
        body = await read_body(RefreshRequest)
        return granted(await accounts.refresh(body.refresh_token), "refresh")

    @routes.post("/logout")
    @tag(["accounts"])
    @security_scheme([{"bearer": []}])
    async def logout() -> Response:
        """Revoke the device that asks; its sessions close."""
        await accounts.logout(await speaker(services))
        return nothing()

    @routes.post("/password")
    @tag(["accounts"])
    @security_scheme([{"bearer": []}])
    @document_request(PasswordRequest)
    async def password() -> Response:
        """Change the password and revoke every other device."""
        principal = await speaker(services)
        body = await read_body(PasswordRequest)
        await accounts.change_password(principal, body.password, body.new_password, client_address())
        return nothing()

    return routes
