"""What a process uses, read from /proc: CPU time of all its threads, and memory."""

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in KiB: what is resident, and its share of it (pages used by two count half)."""

    rss_kib: int
    pss_kib: int


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of all threads of a process, dead ones included.

    Raises:
        OSError: There is no such process.
    """
    fields = _after_name(Path(f"/proc/{pid}/stat").read_text())
    return (int(fields[11]) + int(fields[12])) / _TICKS


def thread_cpu_seconds(pid: int, names: Collection[str]) -> float:
    """Return the user and system time of those threads of a process that are called so and live.

    Raises:
        OSError: There is no such process.
    """
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            stat = (task / "stat").read_text()
            if stat[stat.index("(") + 1 : stat.rindex(")")] in names:
                fields = _after_name(stat)
                ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def resident_kib(pid: int) -> int:
    """Return what is resident, cheaply enough for several times a second."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


def memory(pid: int) -> Memory:
    """Return the exact memory of a process; the kernel walks all of its pages for that."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0])
    return Memory(values["Rss"], values["Pss"])


def _after_name(stat: str) -> list[str]:
    """Return the fields after the name, which may contain spaces and parentheses itself."""
    return stat.rpartition(")")[2].split()
