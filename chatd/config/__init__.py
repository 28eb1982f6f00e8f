"""The configuration: a frozen tree with every default, and the loader that refuses what it does not know.

A file for each table; `tree.py` has them all, `loading.py` reads them. `config.toml` at the top of the repository says
every key with its default, and a test holds the two equal.
"""

from chatd.config.auth import Algorithm, Auth
from chatd.config.backend import Backend
from chatd.config.broker import Broker
from chatd.config.cassandra import Cassandra
from chatd.config.cluster import Cluster
from chatd.config.hooks import Hook, Hooks
from chatd.config.limits import Limits
from chatd.config.loading import load
from chatd.config.log import Log
from chatd.config.namespaces import NAMESPACES, Namespace, Who
from chatd.config.presence import Presence, Reads
from chatd.config.push import Push, PushWeb
from chatd.config.redis import Redis, RedisTls
from chatd.config.section import ConfigError
from chatd.config.server import Server, Tls
from chatd.config.store import Encryption, Store
from chatd.config.tree import Config
from chatd.config.webhooks import EventType, WebhookEndpoint, Webhooks

__all__ = [
    "NAMESPACES",
    "Algorithm",
    "Auth",
    "Backend",
    "Broker",
    "Cassandra",
    "Cluster",
    "Config",
    "ConfigError",
    "Encryption",
    "EventType",
    "Hook",
    "Hooks",
    "Limits",
    "Log",
    "Namespace",
    "Presence",
    "Push",
    "PushWeb",
    "Reads",
    "Redis",
    "RedisTls",
    "Server",
    "Store",
    "Tls",
    "WebhookEndpoint",
    "Webhooks",
    "Who",
    "load",
]
