"""Makes the providers that the configuration names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from chatd.config import Config, Push
from chatd.push import Provider
from chatd.push.apns import Apns
from chatd.push.apns_token import ApnsToken
from chatd.push.dry_run import DryRun
from chatd.push.fcm import Fcm
from chatd.push.google_token import read_account
from chatd.push.h2_client import H2Bounds, tls_context
from chatd.push.http import Http
from chatd.push.templates import SHIPPED, Templates, load_templates
from chatd.push.vapid import Vapid, load_key, load_or_make_key
from chatd.push.webhook import PushHook
from chatd.push.webpush import WebPush
from chatd.webhooks.secrets import load_signer


@dataclass(frozen=True, slots=True)
class Services:
    """What hands pushes over. `public_key` is VAPID's, for pages; None without Web Push."""

    http: Http
    providers: Mapping[str, Provider]
    templates: Templates
    public_key: str | None


def is_configured(push: Push) -> bool:
    """Tell whether there is any service."""
    return bool(push.fcm.account or push.apns.key or push.webpush.subject or push.webhook.url)


def build_services(config: Config, environment: Mapping[str, str], clock: Callable[[], float]) -> Services:
    """Make every provider that is configured.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """
    push = config.push
    bounds = H2Bounds(
        connections=push.connections,
        streams=push.at_once,
        connect_seconds=push.connect_seconds,
        request_seconds=push.request_seconds,
    )
    http = Http(tls_context(), bounds, push.hosts)
    providers: dict[str, Provider] = {}
    public_key = None
    if push.fcm.account:
        account = read_account(Path(push.fcm.account))
        providers["fcm"] = Fcm(account, http, clock, push.fcm.url, dry_run=push.dry_run)
    if push.apns.key:
        apns = push.apns
        token = ApnsToken(load_key(Path(apns.key), "push.apns.key"), apns.key_id, apns.team_id, clock)
        providers["apns"] = Apns(token, http, clock, apns.topic, apns.url, apns.sandbox_url)
    if push.webpush.subject:
        key = load_or_make_key(Path(config.server.var) / push.webpush.key)
        vapid = Vapid(key, push.webpush.subject, clock)
        public_key = vapid.public_key
        providers["webpush"] = WebPush(vapid, http, clock, push.webpush.hosts)
    if push.webhook.url:
        hook = push.webhook
        signed = hook.secret_files or hook.secret_variables
        signer = load_signer("push.webhook", hook.secret_files, hook.secret_variables, environment) if signed else None
        providers["webhook"] = PushHook(http, clock, hook.url, signer)
    if push.dry_run:
        # FCM checks a notification that it is asked not to send; the others have nothing like that.
        providers = {name: one if name == "fcm" else DryRun(name, one) for name, one in providers.items()}
    templates = load_templates(Path(push.templates) if push.templates else SHIPPED)
    return Services(http, providers, templates, public_key)
