"""Every part of one node, built and joined. What is made here is passed down; there are no globals."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from chatd.accounts.accounts import Accounts
from chatd.accounts.issuer import open_issuer
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.subscription_tokens import SubscriptionTokens
from chatd.accounts.tokens import Tokens
from chatd.api.app import bound_bodies, build_app
from chatd.api.http import HttpServer
from chatd.api.server.hot import HotPublish
from chatd.api.services import Services
from chatd.backend.build import Backend, build_backend
from chatd.backend.deliveries import Deliveries
from chatd.broker import Deliver, NodeBroker
from chatd.broker.memory import MemoryBroker
from chatd.config import Config, ConfigError, Namespace
from chatd.counters import Counters
from chatd.drafting import Drafting
from chatd.greeting import Greeting
from chatd.groups import Groups
from chatd.handlers import Handlers
from chatd.hooks.hooks import Hooks
from chatd.hub import Hub
from chatd.keepalive import Keepalive
from chatd.limits import AddressLimiter
from chatd.listener import Listener
from chatd.members import Members
from chatd.metrics import Metrics
from chatd.poller import Poller
from chatd.presence import Tracker
from chatd.presence.tracker import PresenceEvent, PresenceTracker
from chatd.push.devices import PushDevices
from chatd.push.pushing import Pushing
from chatd.push.whereabouts import NodeWhereabouts
from chatd.reading import Reading
from chatd.reads import ReadMarks
from chatd.realtime import NodeRealtime
from chatd.rights import Directory
from chatd.router import Router
from chatd.settings import Settings
from chatd.tls import server_context
from chatd.webhooks.service import Webhooks
from protocol.names import ChannelName, Epoch
from storage import Store
from storage.jobs import JobQueue

if TYPE_CHECKING:
    from chatd.cluster.cluster import ClusterNode

# Random bytes of a session's id, an epoch, a key of chatd's own: long enough never to meet twice, short on the wire.
_SESSION_BYTES = 12
_EPOCH_BYTES = 6
_KEY_BYTES = 12


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


def build_node(
    config: Config, secret: bytes, store: Store, jobs: JobQueue | None, clock: Callable[[], float] = time.time
) -> Node:
    """Make a node; nothing runs yet.

    Raises:
        ConfigError: A part cannot be made from its configuration, or the TLS files cannot be used.
    """
    settings = Settings(config)
    counters = Counters()
    directory = Directory(settings)
    settings.on_replaced.append(lambda _: directory.forget())

    issuer = open_issuer(config.auth, clock)
    tokens = Tokens(secret, config.auth, clock, issuer)
    hub = Hub(settings, counters, clock)
    cluster = _join_cluster(config, hub, tokens, store)
    if cluster is not None:
        settings.on_replaced.append(cluster.reload)
        jobs = cluster.jobs  # those of all nodes, which any of them can do
    assert jobs is not None, "a node alone has jobs of its own"
    tracker: Tracker = (
        cluster.presence
        if cluster is not None
        else PresenceTracker(config.presence, config.namespaces, store, _publisher(hub))
    )
    settings.on_replaced.append(lambda new: tracker.reload(new.presence, new.namespaces))
    hub.observer = tracker

    members = Members(store, config.broker.open_channels)
    groups = Groups(
        store,
        members,
        directory,
        clock,
        lambda: secrets.token_urlsafe(_KEY_BYTES),
        users_are_here=not (config.auth.key_file or config.auth.jwks_url),
    )
    router = Router(hub, Drafting(directory, groups), counters)
    reading = Reading(hub, groups, tracker)
    reads = ReadMarks(store, groups, config.reads, clock, hub.deliver_to)
    if cluster is not None:
        reads.tell_elsewhere(cluster.read_telling(config.reads.waiting))
    webhooks = Webhooks(config, jobs, store, os.environ, seen=store if cluster is None else None, clock=clock)
    rules = _rules(directory)
    pushing = Pushing(
        config,
        store,
        jobs,
        rules,
        NodeWhereabouts(hub, tracker, cluster.elsewhere if cluster is not None else None),
        os.environ,
        clock,
    )

    def told(deliver: Deliver) -> Deliver:
        return webhooks.telling.tapped(pushing.tapped(deliver))

    broker: NodeBroker
    shared: dict[str, Callable[[], object]] = {}  # what a node alone has no statistics of
    if cluster is not None:
        from chatd.broker.joining import join_broker

        broker = on_redis = join_broker(
            cluster,
            store,
            settings,
            directory,
            members,
            hub,
            counters,
            router.deliver,
            told(lambda _: None),
            clock,
        )
        shared["cluster"] = cluster.statistics
        shared["redis"] = cluster.servers.statistics
        shared["redis_broker"] = on_redis.many_nodes_statistics
    else:
        broker = MemoryBroker(
            store,
            settings,
            rules,
            told(router.deliver),
            hub.channels.__contains__,
            clock,
            lambda: Epoch(secrets.token_urlsafe(_EPOCH_BYTES)),
            counters.commit,
        )
    router.broker = groups.broker = reading.broker = broker

    leaves = SubscriptionTokens(secret, config.auth, clock, issuer)
    accounts = Accounts(store, tokens, RefreshTokens(secret), config.auth, clock)
    accounts.on_revoked.append(hub.revoke)
    if cluster is not None:
        accounts.on_revoked.append(cluster.remote.revoke)
    backend = build_backend(
        config,
        secret,
        store,
        jobs,
        clock,
        settings,
        hub,
        directory,
        groups,
        reading,
        accounts,
        tokens,
        leaves,
        broker,
        cluster.share_rates if cluster is not None else lambda rates: rates,
    )
    if cluster is not None:
        backend.sessions.remote, cluster.remote.join = cluster.remote, backend.sessions.subscribe_here
    router.admission = backend.server_sessions
    webhooks.join(settings, hub, tracker, accounts)
    pushing.tell_failures(webhooks.telling.push_given_up)
    hooks = Hooks(config, settings, os.environ, clock=clock)
    greeting = Greeting(hub, tokens, reading, directory, clock)
    if cluster is not None:
        greeting.settle = cluster.settle
    if hooks.is_used:
        greeting.hooks = reading.hooks = router.hooks = hooks
    handlers = Handlers(
        hub, router, greeting, reading, reads, groups, directory, tracker, backend.server_sessions, leaves
    )

    addresses = AddressLimiter(config.limits)
    settings.on_replaced.append(lambda new: addresses.reload(new.limits))
    metrics = Metrics(
        counters,
        {
            "hub": hub.statistics,
            "broker": broker.statistics,
            "store": store.statistics,
            "push": pushing.statistics,
            "webhooks": webhooks.statistics,
            "hooks": hooks.statistics,
        }
        | shared,
    )
    push = config.push
    devices = PushDevices(store, directory, pushing.providers, push.webpush.hosts, push.tokens_per_device, clock)
    accounts.on_revoked.append(lambda device: pushing.later(partial(devices.forget, device)))
    realtime = NodeRealtime(router, reading, reads, groups, directory, lambda: node.leaving)
    app = build_app(
        Services(
            config,
            accounts,
            tokens,
            realtime,
            store,
            metrics.render_all,
            counters,
            backend,
            backend.rates,
            lambda: settings.limits,
            devices,
            pushing.public_key,
            Deliveries(webhooks.operations, pushing.operations, backend.audit),
        )
    )
    hot = HotPublish(app, backend, config.limits)
    http = HttpServer(app, config, addresses, counters, backend.usage, hot)
    settings.on_replaced.append(lambda new: bound_bodies(app, new.limits))
    settings.on_replaced += [lambda new: hot.bound(new.limits), lambda new: http.reload(new.limits)]

    poller = Poller()
    keepalive = Keepalive(hub, clock)
    listener = Listener(
        settings,
        counters,
        hub,
        poller,
        keepalive,
        handlers,
        http,
        addresses,
        server_context(config.server.tls),
        lambda: secrets.token_urlsafe(_SESSION_BYTES),
    )
    node = Node(
        settings,
        counters,
        hub,
        poller,
        keepalive,
        broker,
        tracker,
        reads,
        pushing,
        webhooks,
        hooks,
        tokens,
        accounts,
        backend,
        http,
        listener,
        metrics,
        cluster,
    )
    return node


def _rules(directory: Directory) -> Callable[[ChannelName], Namespace]:
    def find(channel: ChannelName) -> Namespace:
        return directory.find(channel).namespace

    return find


def _join_cluster(config: Config, hub: Hub, tokens: Tokens, store: Store) -> "ClusterNode | None":
    """Return this node's part in a cluster, if it is in one. Only then the packages for Redis are needed."""
    if config.broker.kind != "redis":
        return None
    try:
        from chatd.cluster.cluster import ClusterNode, open_servers
    except ModuleNotFoundError as error:
        raise ConfigError(f"broker.kind: {error.name} is missing: pip install 'chatd[redis]'") from error
    return ClusterNode(config, open_servers(config), hub, tokens, store, _publisher(hub))


def _publisher(hub: Hub) -> Callable[[PresenceEvent], None]:
    def publish(event: PresenceEvent) -> None:
        hub.deliver(event.channel, event)

    return publish
