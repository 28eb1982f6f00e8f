"""Warms a Cassandra that the bench started with the load that is measured, until Java has compiled what that load runs.

A server has been up for longer than a bench. In its first seconds Java interprets what it will compile, and compiling
takes the better half of a core from it. Whether that is done is told by the CPU time of the compilers' threads, not by
the latency: who goes on until the latency is good has chosen the figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import click

from bench import procfs

WARM_SECONDS = 240.0
"""At most, unless it is asked otherwise: what a node on two cores needs under load, twice."""

_WINDOW_SECONDS = 5.0
# At rest in so many windows, one after the other: between two waves of compiling it rests for a moment too, and what
# flushes and rewrites runs so seldom that it is compiled last.
_WINDOWS = 6
_RESTING = 0.05  # of a core
_COMPILERS = ("C1 CompilerThre", "C2 CompilerThre")  # the kernel keeps 15 characters of a thread's name

Load = Callable[[float], object]
"""Loads the server for so many seconds, and returns when it has answered."""


def say(line: str) -> None:
    """Tell how far it is, beside the result and not in it."""
    click.echo(line, err=True)


@dataclass(frozen=True, slots=True)
class Warming:
    """How to warm a database, and how long at most; with 0 seconds it is left as it is."""

    most_seconds: float
    compiler_seconds: Callable[[], float]
    say: Callable[[str], None] = say

    @classmethod
    def of(cls, pid: int, most_seconds: float) -> "Warming":
        """Warm a Java by its process."""
        return cls(most_seconds, partial(procfs.thread_cpu_seconds, pid, _COMPILERS))

    def run(self, *loads: Load) -> str:
        """Load it until its compilers rest, or for as long as is allowed; return a sentence about it.

        Several loads take turns: what one of them alone runs has to be compiled too.
        """
        shares: list[float] = []
        while not _rests(shares) and len(shares) * _WINDOW_SECONDS < self.most_seconds:
            before = self.compiler_seconds()
            loads[len(shares) % len(loads)](_WINDOW_SECONDS)
            # A compiler thread that had nothing to do has ended, and took its time with it.
            shares.append(max(0.0, self.compiler_seconds() - before) / _WINDOW_SECONDS)
            spent = len(shares) * _WINDOW_SECONDS
            self.say(
                f"warming Cassandra: {spent:.0f} s, at most {self.most_seconds:.0f}; Java's compilers use "
                f"{shares[-1]:.0%} of a core"
            )
        if not shares:
            return "Cassandra was not warmed"
        told = " ".join(f"{share:.0%}" for share in shares)
        end = "until Java's compilers rested" if _rests(shares) else "and Java still compiled"
        return f"Cassandra was warmed with this load for {len(shares) * _WINDOW_SECONDS:.0f} s, {end}: {told} of a core"


def _rests(shares: list[float]) -> bool:
    last = shares[-_WINDOWS:]
    return len(last) == _WINDOWS and max(last) < _RESTING
