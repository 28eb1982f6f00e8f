"""Checks what one key of the configuration says about another."""

import re
from collections.abc import Iterable

from chatd.config.converting import shown
from chatd.config.environment import ENVIRONMENT_PREFIX
from chatd.config.hooks import Hook
from chatd.config.push import Push
from chatd.config.section import ConfigError
from chatd.config.store import Encryption
from chatd.config.tree import Config
from chatd.config.webhooks import WebhookEndpoint
from chatd.networks import Networks
from chatd.outbound.urls import check_url
from chatd.redis.addresses import parse_address


def check_across(config: Config) -> None:
    """Check what one key says about another.

    Raises:
        ConfigError: Two keys contradict each other, or one needs another.
    """
    tls = config.server.tls
    if bool(tls.certificate) != bool(tls.key):
        raise ConfigError("server.tls: `certificate` and `key` are given together or not at all")
    _check_networks("trusted_proxies", config.server.trusted_proxies)
    _check_networks("metrics_from", [text for text in config.server.metrics_from if text != "*"])
    _check_origins("allowed_origins", config.server.allowed_origins, ("same", "*"))
    _check_origins("cors_origins", config.server.cors_origins, ("*",))
    if not config.websocket.path.startswith("/"):
        raise ConfigError("websocket.path: begins with a slash")
    auth = config.auth
    if auth.key_file and auth.jwks_url:
        raise ConfigError("auth: give `key_file` or `jwks_url`, not both")
    if auth.jwks_url and (wrong := check_url(auth.jwks_url)):
        raise ConfigError(f"auth.jwks_url: {wrong}")
    if (auth.key_file or auth.jwks_url) and not auth.algorithms:
        raise ConfigError("auth.algorithms: name the algorithms that the outside issuer signs with")
    if auth.algorithms and not (auth.key_file or auth.jwks_url):
        raise ConfigError("auth.algorithms: needs `key_file` or `jwks_url`")
    if auth.jwks_url and any(name.startswith("HS") for name in auth.algorithms):
        raise ConfigError("auth.algorithms: HS algorithms cannot be used with `jwks_url`, whose keys are public")
    if config.cluster.lease_seconds < 3 * config.cluster.heartbeat_seconds:
        raise ConfigError("cluster.lease_seconds: at least three times cluster.heartbeat_seconds")
    _check_servers(config.redis.servers)
    _check_push(config.push)
    _check_encryption(config.store.encryption)
    for name, namespace in config.namespaces.items():
        if namespace.conflate and namespace.delivery == "member":
            raise ConfigError(f"namespaces.{name}.conflate: only for subscribed channels")
        if namespace.push and namespace.delivery != "member":
            raise ConfigError(f"namespaces.{name}.push: only for member channels")
        if namespace.data_bytes > config.limits.message_bytes:
            raise ConfigError(f"namespaces.{name}.data_bytes: more than limits.message_bytes")
    _check_outbound(config)


def _check_outbound(config: Config) -> None:
    """Check where webhooks and hooks go to; that their secrets can be read is found out when the node is built."""
    hooks = {"connect": config.hooks.connect, "subscribe": config.hooks.subscribe, "send": config.hooks.send}
    places: list[tuple[str, WebhookEndpoint | Hook]] = [
        *((f"webhooks.endpoints.{name}", endpoint) for name, endpoint in config.webhooks.endpoints.items()),
        *((f"hooks.{name}", hook) for name, hook in hooks.items() if hook.url),
    ]
    for place, target in places:
        wrong = check_url(target.url)
        if wrong is not None:
            raise ConfigError(f"{place}.url: {wrong}")
        if not target.secret_files and not target.secret_variables:
            raise ConfigError(f"{place}: give secret_files or secret_variables, requests are signed")
        for namespace in target.namespaces:
            if namespace not in config.namespaces:
                raise ConfigError(f"{place}.namespaces: there is no namespace {shown(namespace)}")


def _check_servers(texts: Iterable[str]) -> None:
    try:
        for text in texts:
            parse_address(text)
    except ValueError as error:
        raise ConfigError(f"redis.servers: {error}") from error


def _check_push(push: Push) -> None:
    apns = push.apns
    if apns.key and not (apns.key_id and apns.team_id and apns.topic):
        raise ConfigError("push.apns: a `key` needs `key_id`, `team_id` and `topic` too")
    urls = {"fcm.url": push.fcm.url, "apns.url": apns.url, "apns.sandbox_url": apns.sandbox_url}
    for name, url in urls.items():
        if not url.startswith("https://"):
            raise ConfigError(f"push.{name}: begins with https://")
    if push.webhook.url and not push.webhook.url.startswith(("https://", "http://")):
        raise ConfigError("push.webhook.url: begins with https:// or http://")
    if push.webpush.subject and not push.webpush.subject.startswith(("mailto:", "https://")):
        raise ConfigError("push.webpush.subject: begins with mailto: or https:// (RFC 8292 section 2.1)")
    if push.lease_seconds <= 2 * push.request_seconds + push.connect_seconds:
        raise ConfigError("push.lease_seconds: more than a connection and two requests may take")


def _check_networks(key: str, texts: Iterable[str]) -> None:
    try:
        Networks(texts)
    except ValueError as error:
        raise ConfigError(f"server.{key}: {error}") from error


def _check_origins(key: str, texts: Iterable[str], words: tuple[str, ...]) -> None:
    """Refuse what no browser sends as `Origin`, which would never match: RFC 6454 section 6.1 has no path in it."""
    for text in texts:
        scheme, separator, authority = text.partition("://")
        is_origin = bool(separator and scheme and authority) and not re.search(r"[\s/?#@*]", authority)
        if not is_origin and text not in (*words, "null"):
            raise ConfigError(f"server.{key}: {text!r} is none of {', '.join(words)} and no scheme://host[:port]")


def _check_encryption(encryption: Encryption) -> None:
    if encryption.active and encryption.active not in encryption.keys:
        raise ConfigError(f"store.encryption.active: store.encryption.keys has no key {shown(encryption.active)}")
    for name, place in encryption.keys.items():
        kind, _, rest = place.partition(":")
        if kind not in ("file", "env") or not rest:
            raise ConfigError(f"store.encryption.keys.{shown(name)}: write file:PATH or env:VARIABLE")
        if kind == "env" and rest.startswith(ENVIRONMENT_PREFIX):
            raise ConfigError(
                f"store.encryption.keys.{shown(name)}: variables that begin with CHATD_ are keys of this file"
            )
