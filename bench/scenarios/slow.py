"""A room in which some stop reading: whether the others notice."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.crew import Pace


@dataclass(frozen=True, slots=True)
class Slow:
    """Measure a paced room, let a share of its readers stop reading, and measure the others again."""

    clients: int = 1000
    rate: float = 100.0
    percent: float = 1.0
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("slow")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        before = bed.measure(Pace(rate=self.rate), self.seconds)
        bed.fleet.stop_reading(max(1, round(self.clients * self.percent / 100)))
        bed.fleet.forget()
        after = bed.measure(Pace(rate=self.rate), self.seconds, warm_seconds=0)
        bed.report(after)
        p99_before = before.drained.delivery_latencies.percentile(99) / 1e6
        bed.round.figures |= {
            "p99_before_ms": p99_before,
            "p99_ratio": bed.round.figures["delivery_p99_ms"] / p99_before,
        }
