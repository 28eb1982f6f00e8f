"""Shares the machine's cores: one for the server, the others for the load generators."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are whose. With one core there is nothing to share, and figures mean little."""

    server: int | None
    generators: tuple[int | None, ...]

    @property
    def are_shared(self) -> bool:
        """Tell whether server and generators run on the same cores."""
        return self.server is None


def share(workers: int) -> Cores:
    """Give the first core to the server, the next ones to so many workers (0: one for each other core, up to 4)."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return Cores(None, (None,) * max(1, workers))
    server, *others = available
    count = workers or min(4, len(others))
    return Cores(server, tuple(others[index % len(others)] for index in range(count)))


@contextlib.contextmanager
def children_on(core: int | None) -> Iterator[None]:
    """Let processes that are started inside run on this core only, with all threads they will ever have."""
    mine = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
