"""Users who watch each other: what a storm of reconnects costs, and whether everybody knows what is true after it."""

from dataclasses import dataclass

from bench.bed import Bed, ScenarioFailed
from bench.seats import Seat
from chatd.config import Presence as PresenceConfig

_STORM_SECONDS = 60.0
_SETTLE_SECONDS = 1.5
_APART = 37  # who is watched sits at another load generator, mostly


@dataclass(frozen=True, slots=True)
class Presence:
    """Each user watches some others. All are cut and come back at once; then some percent leave for good.

    Demanded: nobody is told anything about a user who came back within the grace time, everybody knows everybody as
    online after the storm, and who left is told to be offline once to each who watches.
    """

    clients: int = 1000
    watched: int = 20
    percent: float = 5.0
    grace_seconds: float = PresenceConfig().grace_seconds  # of the server that is measured

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        if self.watched >= self.clients:
            raise ScenarioFailed("nobody watches oneself: fewer must be watched than there are clients")
        bed.open([self._seat(bed, index) for index in range(self.clients)])
        self._settle(bed)
        self._demand(bed, "before the storm", set(), None)
        self._storm(bed)
        if self.percent:
            self._leave(bed)
        bed.check(bed.fleet.drain({}, 0))

    def _seat(self, bed: Bed, index: int) -> Seat:
        return bed.seat(f"user{index}", watches=self._watches(index), node=index)

    def _storm(self, bed: Bed) -> None:
        with bed.usage() as usage:
            bed.fleet.drop(writers_too=True)
            opened = bed.fleet.bring_back(self.clients, _STORM_SECONDS)
            self._settle(bed)
        if opened.ready < self.clients:
            raise ScenarioFailed(f"{bed.server.name}: {opened.ready} of {self.clients} clients came back")
        bed.round.ack.merge(opened.latencies)
        bed.round.generator_limited = usage.is_generator_limited
        p50, p99 = opened.latencies.percentiles_ms((50, 99))
        changes = self._demand(bed, "after the storm", set(), 0)
        bed.round.figures |= {
            "storm_seconds": opened.seconds,
            "storm_cpu_seconds": usage.server_cpu_seconds,
            "storm_cpu_seconds_a_node": max(usage.cpu_seconds_by_part.values(), default=usage.server_cpu_seconds),
            "storm_p50_ms": p50,
            "storm_p99_ms": p99,
            "flickers": float(changes),
        }

    def _leave(self, bed: Bed) -> None:
        """Let some go, and wait until the grace time is over."""
        gone = {f"user{index}" for index in range(max(1, round(self.clients * self.percent / 100)))}
        expected = sum(len(gone.intersection(self._watches(index))) for index in range(len(gone), self.clients))
        with bed.usage() as usage:
            bed.fleet.cut(gone)
            bed.fleet.hold(self.grace_seconds + 2 * _SETTLE_SECONDS, "some left")
        self._demand(bed, "after some left", gone, expected)
        bed.round.figures |= {
            "told_offline": float(expected),
            "leave_cpu_seconds": usage.server_cpu_seconds,
        }

    def _watches(self, index: int) -> tuple[str, ...]:
        apart = _APART if self.clients > _APART * (self.watched + 1) else 1
        return tuple(f"user{(index + apart * step) % self.clients}" for step in range(1, self.watched + 1))

    def _settle(self, bed: Bed) -> None:
        bed.fleet.hold(_SETTLE_SECONDS, "settling")

    def _demand(self, bed: Bed, when: str, gone: set[str], changes: int | None) -> int:
        """Compare what all know with what is true, and how often they were told with how often they should be."""
        seen = bed.fleet.look(gone)
        if seen.wrong:
            bed.round.failures.append(f"{when}: {seen.wrong} of {seen.wrong + seen.right} known states are wrong")
        if changes is not None and seen.changes != changes:
            bed.round.failures.append(f"{when}: {seen.changes} changes were told instead of {changes}")
        return seen.changes
