"""Thousands of small groups: what people do all day, durable, at a pace."""

from dataclasses import dataclass

from bench.accounts import Population
from bench.bed import Bed, ScenarioFailed
from bench.groups import Groups, SharedGroups
from bench.pace import Pace
from bench.seats import STREAM, STREAMS


@dataclass(frozen=True, slots=True)
class Rooms:
    """As many groups as clients; each client writes into its own, and is a member of others' too.

    With groups of ten, each message is stored once and delivered to nine. With `channels`, the clients are spread over
    so many groups instead, and each writes into the one that it is in.
    """

    clients: int = 2000
    members: int = 10
    channels: int = 0
    rate: float = 500.0
    in_flight: int = 0
    seconds: float = 5.0

    def population(self) -> Population:
        """Return the users and groups that must exist."""
        groups = self._groups()
        return Population(groups.users, groups.members())

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        groups = self._groups()
        if self.clients > STREAMS or self.rate * self.seconds > STREAM * self.clients:
            raise ScenarioFailed(f"up to {STREAMS} groups, and up to {STREAM} messages in each")
        bed.open(groups.seats(bed, 0.0))
        pace = Pace(in_flight=self.in_flight) if self.in_flight else Pace(rate=self.rate)
        bed.report(bed.measure(pace, self.seconds))

    def _groups(self) -> Groups | SharedGroups:
        if self.channels:
            return SharedGroups("user", self.clients, min(self.channels, self.clients))
        return Groups("user", self.clients, min(self.members, self.clients))
