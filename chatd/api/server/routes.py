"""All routes of the server API."""

from quart import Blueprint

from chatd.api.server.audit import audit_routes
from chatd.api.server.channels import channel_routes
from chatd.api.server.keys import key_routes
from chatd.api.server.members import member_routes
from chatd.api.server.messages import message_routes
from chatd.api.server.presence import presence_routes
from chatd.api.server.pushes import push_routes
from chatd.api.server.scheduled import scheduled_routes
from chatd.api.server.sessions import session_routes
from chatd.api.server.subscriptions import subscription_routes
from chatd.api.server.users import user_routes
from chatd.api.server.webhooks import webhook_routes
from chatd.api.services import Services


def server_routes(services: Services) -> list[Blueprint]:
    """Make the routes under `/v1/server`."""
    return [
        make(services)
        for make in (
            message_routes,
            presence_routes,
            channel_routes,
            member_routes,
            user_routes,
            session_routes,
            subscription_routes,
            scheduled_routes,
            webhook_routes,
            push_routes,
            key_routes,
            audit_routes,
        )
    ]
