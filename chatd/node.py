"""Every part of one node, built and joined. What is made here is passed down; there are no globals."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatd.accounts.accounts import Accounts
from chatd.accounts.tokens import Tokens
from chatd.api.http import HttpServer
from chatd.backend.build import Backend, build_backend
from chatd.broker import NodeBroker, Refused
from chatd.config import Config
from chatd.counters import Counters
from chatd.hooks.hooks import Hooks
from chatd.hub import Hub
from chatd.keepalive import Keepalive
from chatd.layers.channels import build_channels
from chatd.layers.front import Below, build_front
from chatd.layers.ground import lay_ground
from chatd.layers.identity import build_identity
from chatd.layers.numbering import build_numbering
from chatd.layers.reach import build_reach
from chatd.layers.telling import build_telling
from chatd.listener import Listener
from chatd.metrics import Metrics
from chatd.poller import Poller
from chatd.presence import Tracker
from chatd.push.pushing import Pushing
from chatd.reads import ReadMarks
from chatd.settings import Settings
from chatd.webhooks.service import Webhooks
from protocol.codes import ErrorCode
from storage import Store
from storage.jobs import JobQueue

if TYPE_CHECKING:
    from chatd.cluster.cluster import ClusterNode


@dataclass
class Node:
    """The parts that have a life of their own; the others are held by them."""

    settings: Settings
    counters: Counters
    hub: Hub
    poller: Poller
    keepalive: Keepalive
    broker: NodeBroker
    tracker: Tracker
    reads: ReadMarks
    pushing: Pushing
    webhooks: Webhooks
    hooks: Hooks
    tokens: Tokens
    accounts: Accounts
    backend: Backend
    http: HttpServer
    listener: Listener
    metrics: Metrics
    cluster: "ClusterNode | None" = None  # if there may be other nodes
    leaving: str | None = None  # why nobody new should come

    def why_not_ready(self) -> Refused | None:
        """Say why nobody new should come; None when they may."""
        if self.leaving is not None:
            return Refused(ErrorCode.DRAINING, self.leaving)
        missing = self.cluster.servers.missing() if self.cluster is not None else None
        return Refused(ErrorCode.UNAVAILABLE, missing) if missing is not None else None


def build_node(
    config: Config, secret: bytes, store: Store, jobs: JobQueue | None, clock: Callable[[], float] = time.time
) -> Node:
    """Make a node; nothing runs yet.

    Raises:
        ConfigError: A part cannot be made from its configuration, or the TLS files cannot be used.
    """
    ground = lay_ground(config, secret, store, clock)
    identity = build_identity(ground)
    reach = build_reach(ground, identity, jobs)
    channels = build_channels(ground, reach)
    telling = build_telling(ground, identity, reach)
    numbering = build_numbering(ground, reach, channels, telling)
    backend = build_backend(ground, identity, reach, channels, numbering.broker)
    below = Below(ground, identity, reach, channels, telling, numbering, backend)
    front = build_front(below, lambda: node.why_not_ready())
    node = Node(
        settings=ground.settings,
        counters=ground.counters,
        hub=reach.hub,
        poller=front.poller,
        keepalive=front.keepalive,
        broker=numbering.broker,
        tracker=reach.tracker,
        reads=channels.reads,
        pushing=telling.pushing,
        webhooks=telling.webhooks,
        hooks=telling.hooks,
        tokens=identity.tokens,
        accounts=identity.accounts,
        backend=backend,
        http=front.http,
        listener=front.listener,
        metrics=front.metrics,
        cluster=reach.cluster,
    )
    return node
