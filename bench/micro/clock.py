"""Times small functions, in microseconds and in passes of a fixed reference loop."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

_RUNS = 7
_RUN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call costs."""

    microseconds: float
    references: float  # passes of the reference loop that take as long


Clock = Callable[[Callable[[], object], int], Cost]
"""Times a function that does its work so many times; `measure` is one."""


def reference() -> None:
    """Do some of everything that the hot path does: calls, integers, bytes, a dict, a list. Never change it."""
    found: dict[int, bytes] = {}
    parts = []
    for number in range(20):
        piece = b"%d" % number
        found[number] = piece
        parts.append(piece)
    data = b",".join(parts)
    for number in range(20):
        if found[number] not in data:
            raise AssertionError


def measure(function: Callable[[], object], calls: int = 1) -> Cost:
    """Time a function that does its work `calls` times; the reference loop is timed in between.

    The best of several runs counts: whatever else the machine does makes a run slower, never faster.
    """
    best, best_reference = float("inf"), float("inf")
    repeat, repeat_reference = _repeat(function), _repeat(reference)
    for _ in range(_RUNS):
        best_reference = min(best_reference, _time(reference, repeat_reference))
        best = min(best, _time(function, repeat) / calls)
    return Cost(best * 1e6, best / best_reference)


def _repeat(function: Callable[[], object]) -> int:
    """Find out how often a function runs in the time of one run."""
    count = 1
    while (seconds := _time(function, count) * count) < _RUN_SECONDS / 4:
        count *= 2
    return max(1, int(count * _RUN_SECONDS / seconds))


def _time(function: Callable[[], object], count: int) -> float:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time()  # a busy machine takes the core away; that must not count
        for _ in range(count):
            function()
        return (time.thread_time() - began) / count
    finally:
        if was_enabled:
            gc.enable()
