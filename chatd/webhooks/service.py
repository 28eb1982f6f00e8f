"""All of webhooks for one node: built from the configuration, started and run by the server."""

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog
import trio

from chatd.accounts.accounts import Accounts
from chatd.config import Config, ConfigError
from chatd.counters import Latency
from chatd.hub import Hub
from chatd.outbound.backend import Resolve, resolve
from chatd.outbound.client import Client
from chatd.presence import Tracker
from chatd.settings import Settings
from chatd.webhooks.courier import Courier, Meta
from chatd.webhooks.departures import Departing, Departures, LastSeen, SharedDepartures, forget_stays
from chatd.webhooks.gatherer import Gatherer
from chatd.webhooks.observer import WebhookObserver
from chatd.webhooks.operations import WebhookOperations
from chatd.webhooks.routes import Routes
from chatd.webhooks.secrets import load_signer
from chatd.webhooks.signing import Signer
from chatd.webhooks.statistics import WebhookStatistics
from chatd.webhooks.telling import Telling
from storage import StoreError
from storage.jobs import JobCounts, JobQueue

_COUNT_SECONDS = 5.0
_ID_BYTES = 12

_log = structlog.get_logger("webhooks")


class Webhooks:
    """Tells backends what happens. `telling` is what the parts of the node call, `operations` what operators do."""

    def __init__(
        self,
        config: Config,
        jobs: JobQueue,
        meta: Meta,
        environment: Mapping[str, str],
        *,
        seen: LastSeen | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: secrets.token_hex(_ID_BYTES),
        resolver: Resolve = resolve,
    ) -> None:
        """Make it; nothing runs yet. `seen` is for a node whose presence is its own: it keeps notes of who is there.

        Raises:
            ConfigError: A secret cannot be read.
        """
        self._config = config
        self._jobs = jobs
        self._is_alone = seen is not None
        self._environment = environment
        self._latency = Latency()
        self._counts: dict[str, JobCounts] = {}
        routes = Routes(config.webhooks.endpoints)
        self.gatherer = Gatherer(config.webhooks, routes, jobs, clock, new_id, self._wake)
        self._departures: Departures | None = None
        departing: Departing | None = None
        if routes.wants("user.offline") and seen is not None:
            departing = self.gatherer.along = self._departures = Departures(jobs, seen, self.gatherer, clock, new_id)
        elif routes.wants("user.offline"):
            departing = SharedDepartures(self.gatherer, clock)
        self.telling = Telling(config, routes, self.gatherer, departing, clock, new_id)
        self.couriers = {}
        for route in routes.all:
            endpoint = config.webhooks.endpoints[route.name]
            client = Client(connections=endpoint.concurrency, allow_private=endpoint.allow_private, resolver=resolver)
            self.couriers[route.name] = Courier(
                config.webhooks,
                endpoint,
                route,
                jobs,
                meta,
                client,
                self._signer(route.name),
                clock,
                chance,
                self._latency,
            )
        self.operations = WebhookOperations(self.couriers, jobs, clock, new_id)

    def join(self, settings: Settings, hub: Hub, tracker: Tracker, accounts: Accounts) -> None:
        """Let the parts of the node tell what happens; without endpoints they are left as they are."""
        if not self.couriers:
            return
        observer = WebhookObserver(tracker, hub, self.telling)
        hub.observer = observer
        hub.on_used.append(observer.channel_used)
        tracker.on_departed.append(self.telling.departed)
        accounts.on_device_revoked.append(self.telling.revoked)
        accounts.on_suspended.append(self.telling.suspended)
        settings.on_replaced.append(self.reload)

    def reload(self, config: Config) -> None:
        """Take over other namespaces, and read the secrets again: a rotation needs no restart."""
        self.telling.reload(config)
        for name, courier in self.couriers.items():
            try:
                courier.signer = self._signer(name)
            except ConfigError as error:
                _log.error("secrets of webhooks are not read again", error=str(error))

    async def start(self) -> None:
        """Read what the last process left; before the first session."""
        if self._departures is not None:
            await self._departures.start()
        elif self._is_alone:
            await forget_stays(self._jobs)

    async def run(self) -> None:
        """Gather and deliver, until cancelled. What is in the queue stays there."""
        if not self.couriers:
            return
        async with trio.open_nursery() as nursery:
            for courier in self.couriers.values():
                nursery.start_soon(courier.run)
            nursery.start_soon(self._count_loop)
            nursery.start_soon(self.gatherer.run)
            if self._departures is not None:
                await trio.sleep(self._config.presence.grace_seconds)
                await self._departures.tell_missing()

    async def aclose(self) -> None:
        """Close what `operations` opened, where `run` is not called."""
        for courier in self.couriers.values():
            await courier.aclose()

    def statistics(self) -> WebhookStatistics:
        """Return counts for /metrics."""
        requests: Counter[str] = Counter()
        for courier in self.couriers.values():
            requests.update(courier.outcomes)
        return WebhookStatistics(
            queued=self.gatherer.queued,
            dropped=dict(self.gatherer.dropped),
            requests=requests,
            gathered=self.gatherer.waiting,
            latency=self._latency,
            waiting={name: counts.waiting + counts.claimed for name, counts in self._counts.items()},
            dead={name: counts.dead for name, counts in self._counts.items()},
        )

    async def _count_loop(self) -> None:
        while True:
            for name, courier in self.couriers.items():
                with suppress(StoreError):
                    self._counts[name] = await self._jobs.counts(courier.route.queue)
            await trio.sleep(_COUNT_SECONDS)

    def _signer(self, name: str) -> Signer:
        endpoint = self._config.webhooks.endpoints[name]
        place = f"webhooks.endpoints.{name}"
        return load_signer(place, endpoint.secret_files, endpoint.secret_variables, self._environment)

    def _wake(self) -> None:
        for courier in self.couriers.values():
            courier.wake()
