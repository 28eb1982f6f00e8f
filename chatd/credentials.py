"""Whether what the configuration names as secrets of webhooks, hooks and push services is there and can be used.

`chatd serve` finds it out when it builds these parts; `chatd config check` asks here, before anything is started.
"""

from collections.abc import Mapping
from pathlib import Path

from chatd.config import Config, Hook, Push, WebhookEndpoint
from chatd.config.push import PushWebhook
from chatd.push.google_token import read_account
from chatd.push.templates import load_templates
from chatd.push.vapid import load_key
from chatd.webhooks.secrets import load_keys


def check_credentials(config: Config, environment: Mapping[str, str]) -> None:
    """Read every file that is named, and every variable that there is. Nothing is written and nobody is asked.

    A variable that is not set may be set where chatd serves, so that is not found fault with.

    Raises:
        ConfigError: One of them cannot be used; the first words are the key that names it.
    """
    hooks = {"connect": config.hooks.connect, "subscribe": config.hooks.subscribe, "send": config.hooks.send}
    signing: list[tuple[str, WebhookEndpoint | Hook]] = [
        *((f"webhooks.endpoints.{name}", endpoint) for name, endpoint in config.webhooks.endpoints.items()),
        *((f"hooks.{name}", hook) for name, hook in hooks.items() if hook.url),
    ]
    for place, target in signing:
        _check_signing(place, target, environment)
    _check_push(config.push, Path(config.server.var), environment)


def _check_signing(place: str, target: WebhookEndpoint | Hook | PushWebhook, environment: Mapping[str, str]) -> None:
    variables = [name for name in target.secret_variables if name in environment]
    if target.secret_files or variables:
        load_keys(place, target.secret_files, variables, environment)


def _check_push(push: Push, var: Path, environment: Mapping[str, str]) -> None:
    if push.fcm.account:
        read_account(Path(push.fcm.account))
    if push.apns.key:
        load_key(Path(push.apns.key), "push.apns.key")
    own = var / push.webpush.key
    if push.webpush.subject and own.exists():  # else it is made at the first start
        load_key(own, "push.webpush.key")
    hook = push.webhook
    if hook.url:
        _check_signing("push.webhook", hook, environment)
    if push.templates:
        load_templates(Path(push.templates))
