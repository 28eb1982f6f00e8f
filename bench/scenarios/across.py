"""A room whose writers are at one node and whose readers are at others: what the way through Redis costs."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.pace import Pace


@dataclass(frozen=True, slots=True)
class Across:
    """All writers are at the first node, all readers at the others in turn; at a rate, or with a window each."""

    clients: int = 1000
    writers: int = 1
    rate: float = 100.0
    in_flight: int = 0
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("across")
        others = max(1, len(bed.server.addresses) - 1)
        streams = tuple(range(1, self.writers + 1)) if self.writers > 1 else ()
        readers = [
            bed.seat(f"reader{index}", reads=room, subscribes=True, hears=streams, node=1 + index % others)
            for index in range(self.clients)
        ]
        writers = [
            bed.seat(f"writer{index}", writes=room, stream=index + 1 if streams else 0) for index in range(self.writers)
        ]
        bed.open([*writers, *readers])
        pace = Pace(in_flight=self.in_flight) if self.in_flight else Pace(rate=self.rate)
        measured = bed.measure(pace, self.seconds)
        bed.report(measured)
