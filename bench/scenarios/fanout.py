"""Rooms with many readers and one publisher each: what a delivery costs."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.pace import Pace


@dataclass(frozen=True, slots=True)
class Fanout:
    """Publishers write at a rate, or as fast as their windows of unanswered sends let them.

    The readers are shared out over `channels`, each with a publisher of its own; `idle` more clients say nothing.
    """

    clients: int = 1000
    rate: float = 100.0
    in_flight: int = 0
    seconds: float = 5.0
    channels: int = 1
    idle: int = 0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        rooms = [bed.server.dialect.room(f"bench{index}") for index in range(self.channels)]
        readers = [
            bed.seat(f"reader{index}", reads=rooms[index % self.channels], subscribes=True, node=index)
            for index in range(self.clients)
        ]
        publishers = [bed.seat(f"publisher{index}", writes=room, node=index) for index, room in enumerate(rooms)]
        bed.open([*publishers, *readers, *(bed.seat(f"idle{index}", node=index) for index in range(self.idle))])
        pace = Pace(in_flight=self.in_flight) if self.in_flight else Pace(rate=self.rate)
        bed.report(bed.measure(pace, self.seconds))
