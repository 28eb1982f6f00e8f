"""Direct chats: what a durable message costs, and how long its sender and its reader wait."""

from dataclasses import dataclass

from bench.accounts import Population
from bench.bed import Bed
from bench.pace import Pace
from protocol.names import UserId, direct_channel


@dataclass(frozen=True, slots=True)
class Dm:
    """So many senders, each with a friend of its own who reads; each has some unanswered sends, or all share a rate."""

    clients: int = 500
    in_flight: int = 1
    rate: float = 0.0
    seconds: float = 5.0

    def population(self) -> Population:
        """Return the users who must exist."""
        return Population([name for pair in self._pairs() for name in pair])

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        seats = []
        for index, (sender, reader) in enumerate(self._pairs()):
            channel = direct_channel(UserId(sender), UserId(reader))
            seats += [bed.seat(sender, writes=channel, node=index), bed.seat(reader, reads=channel, node=index + 1)]
        bed.open(seats)
        bed.report(bed.measure(Pace(rate=self.rate) if self.rate else Pace(in_flight=self.in_flight), self.seconds))

    def _pairs(self) -> list[tuple[str, str]]:
        return [(f"sender{index}", f"reader{index}") for index in range(self.clients)]
