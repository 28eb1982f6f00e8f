"""Who is in which group, when each user has a group of its own and is in as many others as that has members."""

from dataclasses import dataclass

from bench.bed import Bed
from bench.seats import Seat

_APART = 37  # members of one group have numbers so far apart, so that they sit at different load generators


@dataclass(frozen=True, slots=True)
class Groups:
    """So many users, so many groups, each of so many members (no more than users)."""

    name: str
    count: int
    size: int

    @property
    def users(self) -> list[str]:
        """All users."""
        return [f"{self.name}{index}" for index in range(self.count)]

    def members(self) -> dict[str, list[str]]:
        """Return the members of each group, its writer first."""
        return {
            self._channel(index): [f"{self.name}{(index + step) % self.count}" for step in self._steps()]
            for index in range(self.count)
        }

    def seats(self, bed: Bed, rate: float) -> list[Seat]:
        """Make the clients: each writes the stream of its own group, and hears those of the others it is in."""
        return [
            bed.seat(
                f"{self.name}{index}",
                writes=self._channel(index),
                stream=index + 1,
                hears=tuple((index - step) % self.count + 1 for step in self._steps()[1:]),
                rate=rate,
            )
            for index in range(self.count)
        ]

    def _channel(self, index: int) -> str:
        return f"group:{self.name}{index}"

    def _steps(self) -> list[int]:
        """Return how far the members of a group are from its writer, all different."""
        apart = _APART if self.count > _APART * self.size else 1
        return [step * apart for step in range(self.size)]


@dataclass(frozen=True, slots=True)
class SharedGroups:
    """So many users, spread evenly over groups; each writes into the one it is in, and hears the others there."""

    name: str
    count: int
    groups: int

    @property
    def users(self) -> list[str]:
        """All users."""
        return [f"{self.name}{index}" for index in range(self.count)]

    def members(self) -> dict[str, list[str]]:
        """Return the members of each group."""
        return {
            self._channel(group): [f"{self.name}{index}" for index in self._of(group)] for group in range(self.groups)
        }

    def seats(self, bed: Bed, rate: float) -> list[Seat]:
        """Make the clients."""
        return [
            bed.seat(
                f"{self.name}{index}",
                writes=self._channel(index % self.groups),
                stream=index + 1,
                hears=tuple(other + 1 for other in self._of(index % self.groups) if other != index),
                rate=rate,
            )
            for index in range(self.count)
        ]

    def _channel(self, group: int) -> str:
        return f"group:{self.name}{group}"

    def _of(self, group: int) -> range:
        return range(group, self.count, self.groups)
