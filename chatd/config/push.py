"""Telling who is away: `[push]`."""

from typing import Annotated

from msgspec import Meta

from chatd.config.section import Count, Pause, Seconds, Section


class PushFcm(Section, frozen=True, kw_only=True):
    """Firebase Cloud Messaging; without an account there is none."""

    account: str = ""
    url: str = "https://fcm.googleapis.com"


class PushApns(Section, frozen=True, kw_only=True):
    """Apple's push service; without a key there is none."""

    key: str = ""
    key_id: str = ""
    team_id: str = ""
    topic: str = ""
    url: str = "https://api.push.apple.com"
    sandbox_url: str = "https://api.sandbox.push.apple.com"


class PushWeb(Section, frozen=True, kw_only=True):
    """Web Push to browsers; without a subject there is none."""

    subject: str = ""
    key: str = "vapid.pem"
    hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "*.push.services.mozilla.com",
        "*.push.apple.com",
        "*.notify.windows.com",
    )


class PushWebhook(Section, frozen=True, kw_only=True):
    """A program of the operator's that pushes; without a URL there is none."""

    url: str = ""
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()


class Push(Section, frozen=True, kw_only=True):
    """Telling who is away."""

    work: bool = True
    dry_run: bool = False
    after_seconds: Pause = 5.0
    ttl_seconds: Count = 86_400
    templates: str = ""
    text_field: str = "text"
    text_bytes: Count = 1000
    badges: bool = True
    badge_channels: Annotated[int, Meta(ge=1, le=1000)] = 100
    badge_most: Count = 999
    waiting_messages: Count = 10_000
    batch_users: Annotated[int, Meta(ge=1, le=1000)] = 100
    at_once: Count = 500
    connections: Count = 2
    hosts: Count = 64
    connect_seconds: Seconds = 10.0
    request_seconds: Seconds = 10.0
    lease_seconds: Seconds = 60.0
    poll_seconds: Seconds = 1.0
    retry_seconds: Seconds = 2.0
    retry_max_seconds: Seconds = 600.0
    failures: Count = 5
    rest_seconds: Seconds = 5.0
    rest_max_seconds: Seconds = 300.0
    circuits: Count = 1000
    sent_remembered: Count = 50_000
    tokens_per_device: Count = 4
    fcm: PushFcm = PushFcm()
    apns: PushApns = PushApns()
    webpush: PushWeb = PushWeb()
    webhook: PushWebhook = PushWebhook()
