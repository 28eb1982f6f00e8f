"""Follows a run: what the workers tell and what the server uses, tick by tick, for the live view and the plots."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.histogram import Histogram
from bench.orders import Progress
from bench.servers import Server

TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened in about half a second."""

    at: float  # seconds since the watch began
    connections: int
    deliveries_per_second: float
    acks_per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu: float  # share of a core
    server_mib: float
    generator_cpu: float  # share of a core, of the busiest worker


Show = Callable[[str, Tick], None]


@dataclass(slots=True)
class _Sum:
    deliveries: Histogram = field(default_factory=Histogram)
    acks: Histogram = field(default_factory=Histogram)


class Watch:
    """Gathers progress into ticks."""

    def __init__(self, server: Server, show: Show) -> None:
        self._server = server
        self._show = show
        self._began = self._last = time.monotonic()
        self._last_cpu = server.cpu_seconds()
        self._sum = _Sum()
        self._connections: dict[int, int] = {}
        self._worker_cpu: dict[int, float] = {}
        self._last_worker_cpu: dict[int, float] = {}
        self.ticks: list[Tick] = []
        self.phase = ""

    def take(self, worker: int, progress: Progress) -> None:
        """Add what one worker told."""
        self._sum.deliveries.merge(progress.deliveries)
        self._sum.acks.merge(progress.acks)
        self._connections[worker] = progress.connections
        self._worker_cpu[worker] = progress.cpu_seconds
        self._last_worker_cpu.setdefault(worker, progress.cpu_seconds)

    def beat(self) -> None:
        """Close the tick if its time is over."""
        now = time.monotonic()
        seconds = now - self._last
        if seconds < TICK_SECONDS:
            return
        cpu = self._server.cpu_seconds()
        shown = self._sum.deliveries if self._sum.deliveries.total else self._sum.acks
        p50, p99 = shown.percentiles_ms((50, 99))
        tick = Tick(
            at=round(now - self._began, 3),
            connections=sum(self._connections.values()),
            deliveries_per_second=self._sum.deliveries.total / seconds,
            acks_per_second=self._sum.acks.total / seconds,
            p50_ms=p50,
            p99_ms=p99,
            server_cpu=(cpu - self._last_cpu) / seconds,
            server_mib=self._server.resident_kib() / 1024,
            generator_cpu=max(self._shares(seconds), default=0.0),
        )
        self.ticks.append(tick)
        self._show(f"{self._server.name}: {self.phase}", tick)
        self._last, self._last_cpu, self._sum = now, cpu, _Sum()
        self._last_worker_cpu = dict(self._worker_cpu)

    def worker_cpu_seconds(self) -> list[float]:
        """Return the CPU time of each worker so far, as it told last."""
        return [self._worker_cpu[worker] for worker in sorted(self._worker_cpu)]

    def _shares(self, seconds: float) -> list[float]:
        return [(cpu - self._last_worker_cpu[worker]) / seconds for worker, cpu in self._worker_cpu.items()]
