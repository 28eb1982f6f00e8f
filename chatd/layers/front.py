"""What faces the clients: the commands of sessions, HTTP, and the port of both."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chatd.api.app import bound_bodies, build_app
from chatd.api.http import HttpServer
from chatd.api.server.hot import HotPublish
from chatd.api.services import Services
from chatd.backend.build import Backend
from chatd.backend.deliveries import Deliveries
from chatd.broker import Refused
from chatd.greeting import Greeting
from chatd.handlers import Handlers
from chatd.keepalive import Keepalive
from chatd.layers.channels import Channels
from chatd.layers.ground import Ground
from chatd.layers.identity import Identity
from chatd.layers.numbering import Numbering
from chatd.layers.reach import Reach
from chatd.layers.telling import Telling
from chatd.limits import AddressLimiter
from chatd.listener import Listener
from chatd.metrics import Metrics
from chatd.poller import Poller
from chatd.push.devices import PushDevices
from chatd.realtime import NodeRealtime
from chatd.tls import server_context

_SESSION_BYTES = 12  # random bytes of a session's id: long enough never to meet twice, short on the wire


@dataclass(frozen=True, slots=True)
class Below:
    """Every layer that the front stands on."""

    ground: Ground
    identity: Identity
    reach: Reach
    channels: Channels
    telling: Telling
    numbering: Numbering
    backend: Backend


@dataclass(frozen=True, slots=True)
class Front:
    """What clients meet, and what watches over it."""

    metrics: Metrics
    http: HttpServer
    poller: Poller
    keepalive: Keepalive
    listener: Listener


def build_front(below: Below, not_ready: Callable[[], Refused | None]) -> Front:
    """Make it. `not_ready` says why nobody new should come; None when they may.

    Raises:
        ConfigError: The TLS files cannot be used.
    """
    ground, hub = below.ground, below.reach.hub
    handlers = _build_handlers(below)
    addresses = AddressLimiter(ground.config.limits)
    ground.settings.on_replaced.append(lambda new: addresses.reload(new.limits))
    metrics = _build_metrics(below)
    http = _build_http(below, metrics, addresses, not_ready)
    poller = Poller()
    keepalive = Keepalive(hub, ground.clock)
    listener = Listener(
        ground.settings,
        ground.counters,
        hub,
        poller,
        keepalive,
        handlers,
        http,
        addresses,
        server_context(ground.config.server.tls),
        lambda: secrets.token_urlsafe(_SESSION_BYTES),
    )
    return Front(metrics, http, poller, keepalive, listener)


def _build_handlers(below: Below) -> Handlers:
    ground, reach, channels = below.ground, below.reach, below.channels
    greeting = Greeting(reach.hub, below.identity.tokens, channels.reading, ground.directory, ground.clock)
    if reach.cluster is not None:
        greeting.settle = reach.cluster.settle
    hooks = below.telling.hooks
    if hooks.is_used:
        greeting.hooks = channels.reading.hooks = channels.router.hooks = hooks
    return Handlers(
        reach.hub,
        channels.router,
        greeting,
        channels.reading,
        channels.reads,
        channels.conversations,
        channels.groups,
        ground.directory,
        reach.tracker,
        below.backend.server_sessions,
        below.identity.leaves,
    )


def _build_metrics(below: Below) -> Metrics:
    sources: dict[str, Callable[[], object]] = {
        "hub": below.reach.hub.statistics,
        "broker": below.numbering.broker.statistics,
        "store": below.ground.store.statistics,
        "push": below.telling.pushing.statistics,
        "webhooks": below.telling.webhooks.statistics,
        "hooks": below.telling.hooks.statistics,
    }
    return Metrics(below.ground.counters, sources | below.numbering.statistics)


def _build_http(
    below: Below, metrics: Metrics, addresses: AddressLimiter, not_ready: Callable[[], Refused | None]
) -> HttpServer:
    ground, backend = below.ground, below.backend
    config, settings = ground.config, ground.settings
    app = build_app(_services(below, metrics, not_ready))
    hot = HotPublish(app, backend, config.limits)
    http = HttpServer(app, config, addresses, ground.counters, backend.usage, hot)
    settings.on_replaced += [
        lambda new: bound_bodies(app, new.limits),
        lambda new: hot.bound(new.limits),
        lambda new: http.reload(new.limits),
    ]
    return http


def _services(below: Below, metrics: Metrics, not_ready: Callable[[], Refused | None]) -> Services:
    ground, channels, telling = below.ground, below.channels, below.telling
    backend, accounts, pushing = below.backend, below.identity.accounts, below.telling.pushing
    push = ground.config.push
    devices = PushDevices(
        ground.store, ground.directory, pushing.providers, push.webpush.hosts, push.tokens_per_device, ground.clock
    )
    accounts.on_revoked.append(lambda device: pushing.later(partial(devices.forget, device)))
    realtime = NodeRealtime(channels.router, channels.reading, channels.conversations, ground.directory, not_ready)
    return Services(
        config=ground.config,
        accounts=accounts,
        tokens=below.identity.tokens,
        realtime=realtime,
        store=ground.store,
        metrics=metrics.render_all,
        counters=ground.counters,
        backend=backend,
        user_rates=backend.rates,
        limits=lambda: ground.settings.limits,
        push_devices=devices,
        push_key=pushing.public_key,
        deliveries=Deliveries(telling.webhooks.operations, pushing.operations, backend.audit),
    )
