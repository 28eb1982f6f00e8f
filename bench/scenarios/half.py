"""Latency at half of saturation: what readers see of a server that is busy and not overrun."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.pace import Pace


@dataclass(frozen=True, slots=True)
class Half:
    """Find how many messages a room takes a second, then measure it at half of that rate.

    A server is saturated by one publisher that always has `in_flight` unanswered sends.
    """

    clients: int = 1000
    in_flight: int = 1
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("half")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        saturated = bed.measure(Pace(in_flight=self.in_flight), self.seconds)
        most = saturated.drained.acks / saturated.usage.seconds
        bed.fleet.forget()
        bed.report(bed.measure(Pace(rate=most / 2), self.seconds))
        bed.round.figures |= {"saturation_per_second": most, "half_per_second": most / 2}
