"""All of pushing on one node: what notices messages, what does the work, and what devices ask for over HTTP."""

import random
from collections.abc import Awaitable, Callable, Mapping

import trio

from chatd.broker import Deliver
from chatd.config import Config, Namespace
from chatd.push.build import build_services, is_configured
from chatd.push.counts import PushCounts, PushStatistics
from chatd.push.examiner import Examiner
from chatd.push.jobs import DevicePush
from chatd.push.operations import PushOperations
from chatd.push.watch import PushWatch
from chatd.push.whereabouts import Whereabouts
from chatd.push.worker import PushWorker
from protocol.names import ChannelName
from storage import Store
from storage.jobs import JobQueue

# Devices that were revoked and whose tokens are not removed yet: a user has dozens, an operator revokes a few users.
_CALLS = 10_000

Rules = Callable[[ChannelName], Namespace]


class Pushing:
    """The parts of one node. Without a configured service nothing is noted and nobody is told."""

    def __init__(
        self,
        config: Config,
        store: Store,
        jobs: JobQueue,
        rules: Rules,
        whereabouts: Whereabouts,
        environment: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._config = config.push
        self.counts = PushCounts()
        self._send_later, self._receive_later = trio.open_memory_channel[Callable[[], Awaitable[None]]](_CALLS)
        self.public_key: str | None = None
        """VAPID's, for pages; None without Web Push."""
        self.providers: tuple[str, ...] = ()
        """Those that devices may register tokens of."""
        self.operations = PushOperations(jobs, self._wake, clock)
        """What operators do, whether something is configured here or not."""
        self._watch: PushWatch | None = None
        self._worker: PushWorker | None = None
        if not is_configured(config.push):
            return
        services = build_services(config, environment, clock)
        self.public_key = services.public_key
        self.providers = tuple(services.providers)
        self._http = services.http
        self._watch = PushWatch(config.push, rules, jobs, whereabouts, self.counts, clock)
        if not config.push.work:
            return
        examiner = Examiner(config.push, store, whereabouts, lambda channel: rules(channel).push)
        self._worker = PushWorker(
            config.push,
            store,
            jobs,
            examiner,
            services.providers,
            services.templates,
            self.counts,
            services.http,
            clock,
            random.random,
        )
        self._watch.on_put = self._worker.wake

    def tapped(self, deliver: Deliver) -> Deliver:
        """Return what delivers messages and notes those that push; without a service just what delivers."""
        return self._watch.tapped(deliver) if self._watch is not None else deliver

    def tell_failures(self, tell: Callable[[DevicePush, str], None]) -> None:
        """Let `tell` be called with each push that is given up here, and the reason."""
        if self._worker is not None:
            self._worker.on_given_up.append(tell)

    def later(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call this soon, one after the other; never waits. Of too many the newest are dropped."""
        try:
            self._send_later.send_nowait(call)
        except trio.WouldBlock:
            self.counts.lost["calls"] += 1

    def _wake(self, queue: str) -> None:
        if self._worker is not None:
            self._worker.wake(queue)

    async def _call_later(self) -> None:
        async for call in self._receive_later:
            await call()

    async def run(self) -> None:
        """Note and work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call_later)
            if self._watch is not None:
                nursery.start_soon(self._watch.run)
            if self._worker is not None:
                nursery.start_soon(self._worker.run)

    def statistics(self) -> PushStatistics:
        """Return counts for /metrics."""
        counts, worker = self.counts, self._worker
        return PushStatistics(
            ends=counts.ends,
            handed_over=counts.handed_over,
            again=counts.again,
            lost=counts.lost,
            waiting_messages=self._watch.waiting_messages if self._watch is not None else 0,
            in_flight=worker.in_flight if worker is not None else 0,
            connections=self._http.connections if worker is not None else 0,
            open_circuits=worker.circuits.open_count(trio.current_time()) if worker is not None else 0,
        )
