"""People who do different things at the same time, as a profile says."""

from dataclasses import dataclass
from pathlib import Path

from bench import profile
from bench.accounts import Population
from bench.bed import Bed
from bench.pace import Pace


@dataclass(frozen=True, slots=True)
class Mixed:
    """Play a profile for some seconds."""

    profile: str = str(profile.SMALL)
    seconds: float = 10.0

    def population(self) -> Population:
        """Return the users and groups that must exist."""
        return profile.load(Path(self.profile)).population()

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        people = profile.load(Path(self.profile))
        before = bed.server.memory()
        bed.open(people.seats(bed))
        bed.report(bed.measure(Pace(own=True), self.seconds))
        after = bed.server.memory()
        bed.round.figures |= {
            "users": float(people.users),
            "rss_mib": after.rss_kib / 1024,
            "kib_per_user": (after.pss_kib - before.pss_kib) / max(1, people.users),
        }
