"""Many clients, each alone in its room: what a publish costs that is answered and delivered once."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.pace import Pace


@dataclass(frozen=True, slots=True)
class Echo:
    """Each client writes into its own room and reads it; each message is answered and comes back."""

    clients: int = 100
    in_flight: int = 1
    rate: float = 0.0
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        rooms = [bed.server.dialect.room(f"echo{index}") for index in range(self.clients)]
        bed.open(
            [
                bed.seat(f"user{index}", reads=room, subscribes=True, writes=room, node=index)
                for index, room in enumerate(rooms)
            ]
        )
        pace = Pace(rate=self.rate) if self.rate else Pace(in_flight=self.in_flight)
        bed.report(bed.measure(pace, self.seconds))
