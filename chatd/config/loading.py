"""The way from a file and the environment to a configuration.

Order of what counts: the defaults, then the file, then the environment.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from chatd.config.checks import check_across
from chatd.config.converting import convert, shown
from chatd.config.environment import ENVIRONMENT_PREFIX, override
from chatd.config.namespaces import NAMESPACES, Namespace
from chatd.config.section import ConfigError
from chatd.config.tree import Config
from chatd.config.webhooks import WebhookEndpoint

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ENDPOINT = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration from a TOML file (None: defaults only) and `CHATD_…` variables.

    Raises:
        ConfigError: The file cannot be read, or a key is unknown, of the wrong type or out of range.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits
            raise ConfigError(f"{path}: {error}") from error
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            override(tree, name, text)
    namespaces = _namespaces(tree.pop("namespaces", {}))
    endpoints = _endpoints(tree.get("webhooks"))
    config = msgspec.structs.replace(convert(tree, Config, ""), namespaces=namespaces)
    webhooks = msgspec.structs.replace(config.webhooks, endpoints=endpoints)
    config = msgspec.structs.replace(config, webhooks=webhooks)
    check_across(config)
    return config


def _namespaces(given: Any) -> dict[str, Namespace]:
    """Lay the given namespaces over the shipped ones; a new one starts from the defaults of `Namespace`."""
    if not isinstance(given, dict):
        raise ConfigError("namespaces: expected a table")
    namespaces = dict(NAMESPACES)
    for name, table in given.items():
        if not _NAMESPACE.fullmatch(name):
            raise ConfigError(f"namespaces.{shown(name)}: a name is a-z, then up to 31 of a-z 0-9 _")
        if not isinstance(table, dict):
            raise ConfigError(f"namespaces.{name}: expected a table")
        start = msgspec.to_builtins(NAMESPACES[name]) if name in NAMESPACES else {}
        namespaces[name] = convert(start | table, Namespace, f"namespaces.{name}")
    return namespaces


def _endpoints(webhooks: Any) -> dict[str, WebhookEndpoint]:
    """Take the endpoints out of the table of webhooks, so that what is wrong in one is told with its name."""
    given = webhooks.pop("endpoints", {}) if isinstance(webhooks, dict) else {}
    if not isinstance(given, dict):
        raise ConfigError("webhooks.endpoints: expected a table")
    endpoints = {}
    for name, table in given.items():
        if not _ENDPOINT.fullmatch(name):
            raise ConfigError(f"webhooks.endpoints.{shown(name)}: a name is a-z, then up to 31 of a-z 0-9 _ -")
        if not isinstance(table, dict):
            raise ConfigError(f"webhooks.endpoints.{name}: expected a table")
        endpoints[name] = convert(table, WebhookEndpoint, f"webhooks.endpoints.{name}")
    return endpoints
