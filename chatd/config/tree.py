"""The whole configuration of one node: every table with its defaults."""

import msgspec

from chatd.config.auth import Auth
from chatd.config.backend import Backend
from chatd.config.broker import Broker
from chatd.config.cassandra import Cassandra
from chatd.config.cluster import Cluster
from chatd.config.hooks import Hooks
from chatd.config.limits import Limits
from chatd.config.log import Dev, Log
from chatd.config.namespaces import NAMESPACES, Namespace
from chatd.config.presence import Presence, Reads
from chatd.config.push import Push
from chatd.config.redis import Redis
from chatd.config.section import Section
from chatd.config.server import Server, WebSocket
from chatd.config.store import Jobs, Store
from chatd.config.webhooks import Webhooks


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration of one node."""

    server: Server = Server()
    websocket: WebSocket = WebSocket()
    limits: Limits = Limits()
    auth: Auth = Auth()
    broker: Broker = Broker()
    redis: Redis = Redis()
    store: Store = Store()
    cassandra: Cassandra = Cassandra()
    jobs: Jobs = Jobs()
    presence: Presence = Presence()
    cluster: Cluster = Cluster()
    backend: Backend = Backend()
    webhooks: Webhooks = Webhooks()
    hooks: Hooks = Hooks()
    push: Push = Push()
    reads: Reads = Reads()
    log: Log = Log()
    dev: Dev = Dev()
    namespaces: dict[str, Namespace] = msgspec.field(default_factory=lambda: dict(NAMESPACES))
