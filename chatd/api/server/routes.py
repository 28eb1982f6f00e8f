"""All routes of the server API."""

from quart import Blueprint

from chatd.api.server.channels import channel_routes
from chatd.api.server.deliveries import delivery_routes
from chatd.api.server.keys import key_routes
from chatd.api.server.messages import message_routes
from chatd.api.server.scheduled import scheduled_routes
from chatd.api.server.sessions import session_routes
from chatd.api.server.users import user_routes
from chatd.api.services import Services


def server_routes(services: Services) -> list[Blueprint]:
    """Make the routes under `/v1/server`."""
    return [
        make(services)
        for make in (
            message_routes,
            channel_routes,
            user_routes,
            session_routes,
            scheduled_routes,
            delivery_routes,
            key_routes,
        )
    ]
