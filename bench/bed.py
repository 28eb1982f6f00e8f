"""What a scenario works with in one round: a server, a fleet of clients, and how to measure both."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from bench.cores import Cores, put_first
from bench.fleet import Fleet
from bench.histogram import Histogram
from bench.orders import Drained, Opened
from bench.pace import Pace
from bench.seats import Checks, Seat
from bench.servers import Server
from bench.tokens import signer
from bench.watch import Show, Tick, Watch

_WARM_SECONDS = 1.0
_DRAIN_SECONDS = 10.0
_OPEN_SECONDS = 60.0
_AT_ONCE = 200
_BUSY = 0.9  # a core that is used more than this is as good as full


class ScenarioFailed(Exception):
    """The scenario could not be run as asked, for example because not all clients could connect."""


@dataclass(slots=True)
class Round:
    """What one run of a scenario against one server brought. Figures are named with their unit."""

    target: str
    version: str
    figures: dict[str, float] = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks)
    delivery: Histogram = field(default_factory=Histogram)
    ack: Histogram = field(default_factory=Histogram)
    ticks: list[Tick] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  # what a scenario demands and did not find
    notes: list[str] = field(default_factory=list)
    generator_limited: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load brought: counts, and what both sides used for it."""

    drained: Drained
    usage: "Usage"
    sent: dict[str, int]  # to each channel, since the clients were made


class Bed:
    """One round's server and clients."""

    def __init__(self, server: Server, fleet: Fleet, watch: Watch, body_bytes: int) -> None:
        self.server = server
        self.fleet = fleet
        self.watch = watch
        self.body_bytes = body_bytes
        self.round = Round(server.name, server.version)
        self._sign = signer(server.secret)

    @property
    def generator_core(self) -> int | None:
        """The core of the first load generator, for whatever else makes load."""
        return self.fleet.core

    def put_first(self) -> None:
        """Let the server and its clients run before everything else on their cores, if this user may; note it."""
        server = [self.server.pid, *(part.pid for part in self.server.parts)]
        allowed = put_first([*(pid for pid in server if pid), *self.fleet.pids])
        self.round.notes.append(f"server and clients {'had' if allowed else 'could not get'} real-time priority")

    def seat(self, user: str, **more: object) -> Seat:
        """Make a client with a token of its own."""
        return Seat(user, self._sign(user), **more)  # type: ignore[arg-type]  # Seat checks its own fields

    def open(self, seats: list[Seat], at_once: int = _AT_ONCE) -> Opened:
        """Connect clients.

        Raises:
            ScenarioFailed: Not all became ready.
        """
        opened = self.fleet.open(seats, at_once, _OPEN_SECONDS)
        if opened.ready < len(seats):
            drained = self.fleet.drain({}, 0)
            said = "; ".join([*drained.errors, *drained.closes][:3]) or "no answer in time"
            raise ScenarioFailed(f"{self.server.name}: {opened.ready} of {len(seats)} clients could connect: {said}")
        return opened

    def measure(self, pace: Pace, seconds: float, *, warm_seconds: float = _WARM_SECONDS) -> Measured:
        """Load the server for so long and wait until everything came; what warms it before that is not counted."""
        if warm_seconds and self.server.warming is not None:
            # As fast as it goes too: that is more to learn from in the same time, and a busy server is another one.
            paces = dict.fromkeys((replace(pace, rate=0.0, own=False, in_flight=pace.in_flight or 1), pace))
            self.round.notes.append(self.server.warming.run(*(partial(self._warm, each) for each in paces)))
        if warm_seconds:
            with self.usage() as warm:
                drained = self.fleet.drain(self.fleet.load(pace, warm_seconds, "warming up"), _DRAIN_SECONDS)
            self.round.figures |= generator_ceiling(drained, warm)
            self.fleet.forget()
        with self.usage() as usage:
            sent = self.fleet.load(pace, seconds)
            drained = self.fleet.drain(sent, _DRAIN_SECONDS)
        return Measured(drained, usage, sent)

    def _warm(self, pace: Pace, seconds: float) -> None:
        self.fleet.drain(self.fleet.load(pace, seconds, "warming Cassandra"), _DRAIN_SECONDS)
        self.fleet.forget()

    @contextlib.contextmanager
    def usage(self) -> Iterator["Usage"]:
        """Measure what server and workers use inside; the result is filled in at the end."""
        usage = Usage()
        began = time.monotonic()
        server = self.server.cpu_seconds()
        parts = self.server.cpu_seconds_by_part()
        workers = self.fleet.cpu_seconds()
        yield usage
        usage.seconds = time.monotonic() - began
        usage.server_cpu_seconds = self.server.cpu_seconds() - server
        after_parts = self.server.cpu_seconds_by_part()
        usage.cpu_seconds_by_part = {name: after_parts[name] - before for name, before in parts.items()}
        used = [after - before for before, after in zip(workers, self.fleet.cpu_seconds(), strict=True)]
        usage.generator_cpu_seconds = max(used)

    def report(self, measured: Measured) -> None:
        """Put into the round what every load has: latencies, checks, CPU, and who was the limit."""
        drained, usage = measured.drained, measured.usage
        self.round.delivery.merge(drained.delivery_latencies)
        self.round.ack.merge(drained.ack_latencies)
        self.check(drained)
        self.round.generator_limited |= usage.is_generator_limited
        figures = {
            "server_cpu": usage.server_cpu,
            "generator_cpu": usage.generator_cpu,
            "deliveries_per_second": drained.deliveries / usage.seconds,
            "acks_per_second": drained.acks / usage.seconds,
        }
        if usage.server_cpu_seconds:
            figures["deliveries_per_cpu_second"] = drained.deliveries / usage.server_cpu_seconds
            figures["acks_per_cpu_second"] = drained.acks / usage.server_cpu_seconds
        figures |= {f"{name}_cpu": used / usage.seconds for name, used in usage.cpu_seconds_by_part.items()}
        for kind, histogram in (("delivery", drained.delivery_latencies), ("ack", drained.ack_latencies)):
            if histogram.total:
                p50, p99 = histogram.percentiles_ms((50, 99))
                figures[f"{kind}_p50_ms"] = p50
                figures[f"{kind}_p99_ms"] = p99
        self.round.figures |= figures

    def check(self, drained: Drained) -> None:
        """Put into the round what was wrong, as far as it is known now."""
        self.round.checks = drained.checks
        self.round.errors = drained.errors | {f"closed: {why}": count for why, count in drained.closes.items()}


@dataclass(slots=True)
class Usage:
    """What server and workers used in a while."""

    seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0  # of the busiest worker
    cpu_seconds_by_part: dict[str, float] = field(default_factory=dict)  # of a server of several processes

    @property
    def server_cpu(self) -> float:
        """Share of a core that the server used."""
        return self.server_cpu_seconds / self.seconds

    @property
    def generator_cpu(self) -> float:
        """Share of a core that the busiest worker used."""
        return self.generator_cpu_seconds / self.seconds

    @property
    def is_generator_limited(self) -> bool:
        """Tell whether the load generator was what held the rate down."""
        return self.generator_cpu > _BUSY and self.server_cpu < _BUSY


def generator_ceiling(drained: Drained, warm: Usage) -> dict[str, float]:
    """Return how many deliveries a second of this very load the generator could take if the server were no limit.

    At a low rate a worker takes few messages with each wake-up, so its true ceiling is higher, never lower.
    """
    if not drained.deliveries or not warm.generator_cpu_seconds:
        return {}
    return {"generator_ceiling_per_second": drained.deliveries / warm.generator_cpu_seconds}


Scenario = Callable[[Bed], None]
"""Does its work with a bed and leaves what it found in `bed.round`."""


def run_round(scenario: Scenario, server: Server, cores: Cores, body_bytes: int, show: Show) -> Round:
    """Run a scenario once against a server that is up."""
    watch = Watch(server, show)
    with Fleet(server, cores, body_bytes, watch) as fleet:
        bed = Bed(server, fleet, watch, body_bytes)
        scenario(bed)
    bed.round.ticks = watch.ticks
    return bed.round
