"""Shares the machine's cores: one for the server, the others for the load generators; or everybody has all of them."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PRIORITY = 5  # any: others have none


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are whose; None: nobody's. With one core there is nothing to share, and figures mean little."""

    server: int | None
    generators: tuple[int | None, ...]

    @property
    def are_shared(self) -> bool:
        """Tell whether server and generators run on the same cores."""
        return self.server is None


def share(workers: int, *, beside_database: bool = False) -> Cores:
    """Give the first core to the server, the next ones to so many workers (0: one for each other core, up to 4).

    Beside a database that needs all cores nobody is held to one: a server that must wait until the database leaves its
    core, while another is idle, waits for what no operating system would let it wait for.
    """
    server, *others = sorted(os.sched_getaffinity(0))
    count = workers or max(1, min(4, len(others)))
    if beside_database or not others:
        return Cores(None, (None,) * count)
    return Cores(server, tuple(others[index % len(others)] for index in range(count)))


def put_first(pids: Iterable[int]) -> bool:
    """Let processes and all threads that they have run before all others on their cores; tell whether that is allowed.

    By a real-time priority of Linux. Else a process that is busy most of the time waits for others more often than one
    that is idle, and a comparison of the two measures that.
    """
    try:
        for pid in pids:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except (OSError, AttributeError):
        return False
    return True


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


@contextlib.contextmanager
def kept_clear(core: int | None) -> Iterator[None]:
    """Keep off the server's core meanwhile: what shows the progress would take some milliseconds of it now and then."""
    mine = os.sched_getaffinity(0)
    _move(mine - {core} or mine)
    try:
        yield
    finally:
        _move(mine)


def _move(cores: set[int]) -> None:
    """Let every thread of this process run on these cores only."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it ended
            os.sched_setaffinity(int(thread), cores)
