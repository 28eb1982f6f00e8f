"""How what a message costs changes with the number of nodes: each node has the same clients, with 1, 2 and 4 of them.

All nodes share a core with Redis, and clients write as fast as they get answers: so each node is as busy as it can be,
and works through what has gathered meanwhile, as it would on a core of its own that has no time to spare.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from bench.bed import ScenarioFailed
from bench.cores import Cores
from bench.environment import machine, versions
from bench.report.words import spread_text
from bench.results import Spread, spread
from bench.runs import Plan, run
from bench.scenarios import AnyScenario, Dm, Echo, Fanout
from bench.targets import Target
from bench.watch import Show

NODES = (1, 2, 4)
WORKERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Work:
    """A load that grows with the number of nodes."""

    title: str
    scenario: str
    load: Callable[[int, float], AnyScenario]  # for so many nodes, and a time


@dataclass(frozen=True, slots=True)
class Point:
    """What one delivery costs, in each round: microseconds of the nodes' CPU, and of Redis'."""

    nodes: int
    of_nodes: list[float]
    of_redis: list[float]


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one work."""

    work: str
    points: list[Point]
    title: str = ""
    of: str = "node"  # or "worker"

    def times(self, point: Point) -> Spread | None:
        """Return what so many nodes with a core each carry, as a multiple of what one does."""
        pairs = zip(self.points[0].of_nodes, point.of_nodes, strict=True)
        return spread([point.nodes * alone / among for alone, among in pairs])


WORKS = {
    "room": Work(
        "A room with 500 readers at each node, 4 messages in flight",
        "fanout",
        lambda nodes, seconds: Fanout(clients=500 * nodes, rate=0.0, in_flight=4, seconds=seconds),
    ),
    "echo": Work(
        "50 clients at each node, alone in their rooms, 1 message in flight each",
        "echo",
        lambda nodes, seconds: Echo(clients=50 * nodes, seconds=seconds),
    ),
    "dm": Work(
        "100 durable direct chats a node, sender and reader at different nodes, 1 message in flight each",
        "dm",
        lambda nodes, seconds: Dm(clients=100 * nodes, seconds=seconds),
    ),
}


_SAME = "the same for any number of workers"

FOR_WORKERS = {
    "room": Work(
        "A room with 500 readers for each worker, 150 messages/s",
        "fanout",
        lambda workers, seconds: Fanout(clients=500 * workers, rate=150.0, seconds=seconds),
    ),
    "rate": Work(
        "A room with 1,000 readers, 80 messages/s for each worker",
        "fanout",
        lambda workers, seconds: Fanout(clients=1000, rate=80.0 * workers, seconds=seconds),
    ),
    "full": Work(
        "A room with 500 readers and 4 messages in flight for each worker",
        "fanout",
        lambda workers, seconds: Fanout(clients=500 * workers, rate=0.0, in_flight=4 * workers, seconds=seconds),
    ),
    "same-room": Work(
        f"A room with 1,000 readers, 100 messages/s, {_SAME}",
        "fanout",
        lambda workers, seconds: Fanout(clients=1000, rate=100.0, seconds=seconds),
    ),
    "same-echo": Work(
        f"100 clients, alone in their rooms, 6,000 messages/s, {_SAME}",
        "echo",
        lambda workers, seconds: Echo(clients=100, rate=6000.0, seconds=seconds),
    ),
}
"""Loads of the workers of one machine: as much for each of them, or the same for one and for two."""


def measure(name: str, cores: Cores, seconds: float, rounds: int, show: Show, cassandra: str = "") -> Line:
    """Measure one work; the numbers of nodes alternate. With a Cassandra (HOST:PORT), those of 1 and 2 workers.

    Raises:
        ScenarioFailed: A delivery was wrong.
    """
    work = (FOR_WORKERS if cassandra else WORKS)[name]
    of = "worker" if cassandra else "node"
    points = {nodes: Point(nodes, [], []) for nodes in (WORKERS if cassandra else NODES)}
    for _ in range(rounds):
        for nodes, point in points.items():
            target = Target(workers=nodes, cassandra=cassandra) if cassandra else Target(nodes=nodes)
            result = run(work.scenario, work.load(nodes, seconds), target.launches(), Plan(cores), show)
            if not result.is_good:
                raise ScenarioFailed(f"{name}, {nodes} {of}s: deliveries were wrong")
            [one] = result.rounds
            figures = one.figures
            redis = figures["redis_cpu"] / figures["deliveries_per_second"] * 1e6
            point.of_redis.append(redis)
            point.of_nodes.append(figures["server_cpu"] / figures["deliveries_per_second"] * 1e6 - redis)
    return Line(name, list(points.values()), work.title, of)


def as_table(line: Line) -> Table:
    """Make the table of one work."""
    table = Table(title=line.title, title_justify="left")
    of = line.of
    for heading in (f"{of}s", f"µs of the {of}s a delivery", "µs of Redis a delivery", f"times what one {of} carries"):
        table.add_column(heading, justify="right")
    for point in line.points:
        cells = spread(point.of_nodes), spread(point.of_redis), line.times(point)
        table.add_row(str(point.nodes), *(spread_text(cell) for cell in cells))
    return table


def save(lines: Sequence[Line], seconds: float, directory: Path) -> list[Path]:
    """Write the plot, and all figures with what they were measured on; return the paths."""
    from bench.report import scaling_plots

    directory.mkdir(parents=True, exist_ok=True)
    name = f"scaling-{lines[0].of}s"
    plot, figures = directory / f"{name}.svg", directory / f"{name}.json"
    plot.write_text(scaling_plots.linearity(lines), "utf-8")
    plain = {
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds_each": seconds,
        "machine": machine(),
        "versions": versions(),
        "lines": [asdict(line) for line in lines],
    }
    figures.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")
    return [plot, figures]
