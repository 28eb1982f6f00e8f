"""Users with many conversations come, come back, and hear from one of them: what it costs must not depend on how many.

Two runs that differ in `conversations` alone are to be laid side by side (`chatd bench compare`).
"""

from dataclasses import dataclass
from random import Random

from bench.accounts import Population
from bench.bed import Bed, ScenarioFailed
from bench.pace import Pace

_SETTLE_SECONDS = 2.0
_RETURN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Conversations:
    """So many users, each a member of so many groups of `members`. One of the first group writes into it."""

    clients: int = 10_000
    conversations: int = 500
    members: int = 100
    at_once: int = 200
    rate: float = 20.0
    seconds: float = 3.0

    def population(self) -> Population:
        """Return the users and groups that must exist."""
        return Population([f"user{index}" for index in range(self.clients)], self._groups())

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        if self.clients % self.members:
            raise ScenarioFailed("as many clients as some groups have members: a multiple of --members")
        group, hearers = next(iter(self._groups().items()))
        first, reading = hearers[0], set(hearers[1:])
        before = bed.server.memory()
        seats = [
            bed.seat(
                user,
                writes=group if user == first else "",
                reads=group if user in reading else "",
                node=index,
            )
            for index, user in enumerate(f"user{index}" for index in range(self.clients))
        ]
        with bed.usage() as coming:
            opened = bed.open(seats, self.at_once)
        bed.fleet.hold(_SETTLE_SECONDS, "settling")
        after = bed.server.memory()
        with bed.usage() as returning:
            bed.fleet.drop(writers_too=True)
            back = bed.fleet.bring_back(self.clients, _RETURN_SECONDS)
        if back.ready < self.clients:
            raise ScenarioFailed(f"{bed.server.name}: {back.ready} of {self.clients} clients came back")
        bed.report(bed.measure(Pace(rate=self.rate), self.seconds))
        bed.round.figures |= {
            "connect_us": coming.server_cpu_seconds / self.clients * 1e6,
            "return_us": returning.server_cpu_seconds / self.clients * 1e6,
            "connect_p50_ms": opened.latencies.percentiles_ms((50,))[0],
            "kib_per_connection": (after.pss_kib - before.pss_kib) / self.clients,
        }

    def _groups(self) -> dict[str, list[str]]:
        """Spread users over groups: in each round anew, by chance that is the same in every run."""
        groups: dict[str, list[str]] = {}
        users = [f"user{index}" for index in range(self.clients)]
        for number in range(self.conversations):
            Random(number).shuffle(users)
            for place, start in enumerate(range(0, self.clients, self.members)):
                groups[f"group:g{number}-{place}"] = users[start : start + self.members]
        return groups
