"""How the cost of a delivery grows: one load again and again, with one thing of it changed, and plots of that."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.bed import ScenarioFailed
from bench.cores import Cores
from bench.environment import machine, versions
from bench.report.words import spread_text
from bench.results import spread
from bench.runs import Plan, run
from bench.scenarios import Fanout
from bench.targets import Launch
from bench.watch import Show

_READERS = 1000
_BODY_BYTES = 200
_DELIVERIES = 50_000  # a second; the publishers' rate is what makes so many
_MOST_SENDS = 500.0  # a second, lest the few readers of a small room measure publishing instead


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is changed, and the values it is given."""

    title: str
    unit: str
    values: tuple[int, ...]
    load: Callable[[int, float], Fanout]  # for a value and a time


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one value, in each round."""

    value: int
    microseconds: list[float]  # of server CPU for one delivery
    p99_ms: list[float]
    generator_limited: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one axis."""

    axis: str
    points: list[Point]


def _readers(value: int, seconds: float) -> Fanout:
    return Fanout(clients=value, rate=min(_MOST_SENDS, _DELIVERIES / value), seconds=seconds)


def _size(value: int, seconds: float) -> Fanout:
    return Fanout(clients=_READERS, rate=20.0, seconds=seconds)


def _channels(value: int, seconds: float) -> Fanout:
    return Fanout(clients=_READERS, rate=20.0 * value, channels=value, seconds=seconds)


def _connections(value: int, seconds: float) -> Fanout:
    return Fanout(clients=_READERS, rate=_DELIVERIES / _READERS, idle=value - _READERS, seconds=seconds)


AXES = {
    "readers": Axis("Readers of one room", "readers", (10, 100, 1000, 5000), _readers),
    "size": Axis("Size of a message", "bytes of the body", (64, 256, 1024, 4096, 16384), _size),
    "channels": Axis("Rooms that 1,000 readers are spread over", "rooms", (1, 10, 100), _channels),
    "connections": Axis("Connections, of which 1,000 read", "connections", (1000, 2000, 5000, 10000), _connections),
}


def measure(
    name: str, values: Sequence[int], launch: Launch, cores: Cores, seconds: float, rounds: int, show: Show
) -> Curve:
    """Measure one axis, at these values or at its own.

    Raises:
        ScenarioFailed: A delivery was wrong, or the server's CPU cannot be measured.
    """
    axis = AXES[name]
    points = []
    for value in values or axis.values:
        body = value if name == "size" else _BODY_BYTES
        result = run("fanout", axis.load(value, seconds), [launch], Plan(cores, rounds, body), show)
        if not result.is_good:
            raise ScenarioFailed(f"{name} {value}: deliveries were wrong")
        cost = [one.figures.get("deliveries_per_cpu_second", 0.0) for one in result.rounds]
        if not all(cost):
            raise ScenarioFailed(f"{name} {value}: too short to measure the server's CPU")
        points.append(
            Point(
                value,
                [1e6 / rate for rate in cost],
                [one.figures["delivery_p99_ms"] for one in result.rounds],
                any(one.generator_limited for one in result.rounds),
            )
        )
    return Curve(name, points)


def as_table(curve: Curve) -> Table:
    """Make the table of one axis."""
    axis = AXES[curve.axis]
    table = Table(title=axis.title, title_justify="left")
    for heading in (axis.unit, "µs of server CPU a delivery", "p99, ms"):
        table.add_column(heading, justify="right")
    for point in curve.points:
        limited = " (the generator was the limit)" * point.generator_limited
        cost, p99 = spread_text(spread(point.microseconds)), spread_text(spread(point.p99_ms))
        table.add_row(f"{point.value:,}", cost + limited, p99)
    return table


def save(curves: Sequence[Curve], seconds: float, directory: Path) -> list[Path]:
    """Write one plot for each axis, and all figures with what they were measured on; return the paths."""
    from bench.report import plots

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for curve in curves:
        path = directory / f"cost-{curve.axis}.svg"
        path.write_text(plots.cost(AXES[curve.axis].title, AXES[curve.axis].unit, curve), "utf-8")
        paths.append(path)
    path = directory / "cost.json"
    path.write_text(json.dumps(_plain(curves, seconds), indent=1) + "\n", "utf-8")
    return [*paths, path]


def _plain(curves: Sequence[Curve], seconds: float) -> dict[str, Any]:
    return {
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds_each": seconds,
        "machine": machine(),
        "versions": versions(),
        "curves": [asdict(curve) for curve in curves],
    }
