"""What happened, told to backends: `[webhooks]`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chatd.config.section import Count, Pause, Seconds, Section

EventType = Literal[
    "session.connected",
    "session.disconnected",
    "user.offline",
    "message.published",
    "channel.opened",
    "channel.emptied",
    "moderation.removed",
    "moderation.suspended",
    "moderation.revoked",
    "delivery.failed",
]
"""What webhooks tell; docs/reference/webhooks.md has each with an example."""


class WebhookEndpoint(Section, frozen=True, kw_only=True):
    """One receiver of webhooks."""

    url: str
    events: tuple[EventType, ...]
    namespaces: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    batch_events: Annotated[int, Meta(ge=1, le=1000)] = 100
    timeout_seconds: Seconds = 15.0
    allow_private: bool = False


class Webhooks(Section, frozen=True, kw_only=True):
    """What happened, told to backends."""

    gather_seconds: Pause = 0.05
    gather_events: Count = 20_000
    gather_bytes: Count = 16_777_216
    batch_bytes: Count = 262_144
    retry_seconds: Count = 86_400
    refused_seconds: Count = 3600
    backoff_seconds: Seconds = 1.0
    backoff_max_seconds: Seconds = 900.0
    poll_seconds: Seconds = 1.0
    answer_bytes: Count = 16_384
    endpoints: dict[str, WebhookEndpoint] = msgspec.field(default_factory=dict)
