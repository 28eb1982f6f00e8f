"""One room, many readers, one publisher: what a delivery costs."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.crew import Pace


@dataclass(frozen=True, slots=True)
class Fanout:
    """One publisher writes at a rate, or as fast as its window of unanswered sends lets it."""

    clients: int = 1000
    rate: float = 100.0
    in_flight: int = 0
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("bench")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        pace = Pace(in_flight=self.in_flight) if self.in_flight else Pace(rate=self.rate)
        bed.report(bed.measure(pace, self.seconds))
