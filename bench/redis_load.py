"""What Redis has to do for a cluster of any size: measured costs of single operations, times how often they happen.

It is a computation, not a run: nobody here has a hundred machines. What it takes from measurements is the cost of each
operation on a real Redis, and how that grows with the number of nodes that hear of it. What it assumes is in `Crowd`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import redis_costs
from bench.environment import machine, versions

HEARERS = (1, 10, 100)
"""How many nodes hear of an operation when it is measured."""

_LOOKS_A_SECOND = 128 / 3.0 * 2  # of each node: all shards, two commands each, every 3 s on average
_FILL = 0.5  # of a core that a Redis should be busy at most: the rest is for bursts, and for a server that is down
_MEMORY_SAMPLE = 100_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """How people use a cluster. Rates are of each connected user, an hour."""

    nodes: int = 100
    connections: int = 10_000_000
    messages: float = 12.0  # to groups and direct chats
    members_online: float = 5.0  # of a channel that is written to; each is at another node
    known: float = 0.5  # share of them whose whereabouts the sender's node has in memory
    room_messages: float = 0.1  # to rooms that are heard at all nodes
    sessions: float = 2.0  # that begin, and end


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of Redis for one operation: by how many nodes hear of it."""

    name: str
    title: str
    points: dict[int, float]

    def at(self, nodes: int) -> float:
        """Return what it costs with so many nodes: a fixed part, and a part for each node."""
        if len(self.points) < 2:
            return next(iter(self.points.values()))
        least, most = min(self.points), max(self.points)
        each = (self.points[most] - self.points[least]) / (most - least)
        return self.points[least] + each * (nodes - least)


@dataclass(frozen=True, slots=True)
class Share:
    """What one kind of operation takes of Redis."""

    title: str
    a_second: float
    microseconds: float

    @property
    def cores(self) -> float:
        """How many cores it keeps busy."""
        return self.a_second * self.microseconds / 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """All that a crowd asks of Redis."""

    crowd: Crowd
    shares: list[Share]
    memory_gib: float
    hearing: float  # share of a core with which each node hears who comes and goes at the others

    @property
    def cores(self) -> float:
        """How many cores of Redis are busy."""
        return sum(share.cores for share in self.shares)

    @property
    def servers(self) -> int:
        """How many Redis servers there should be, each busy for half of a core at most."""
        return max(1, ceil(self.cores / _FILL))


def measure(seconds: float, core: int | None) -> list[Cost]:
    """Measure every operation; those that nodes hear of with 1, 10 and 100 of them."""
    costs = []
    for name, operation in redis_costs.operations().items():
        hearers = HEARERS if operation.heard_in and name != "post" else (1,)
        points = {nodes: redis_costs.measure(operation, nodes, seconds, core) for nodes in hearers}
        costs.append(Cost(name, operation.title, points))
    return costs


def measure_sizes(seconds: float, core: int | None) -> dict[str, float]:
    """Measure bytes of Redis' memory for a "key" and a "user", and a node's microseconds for "hearing" of a user."""
    sizes = {kind: redis_costs.bytes_of(kind, _MEMORY_SAMPLE) for kind in ("key", "user")}
    return sizes | {"hearing": redis_costs.hearing(seconds, core)}


def load(costs: Sequence[Cost], sizes: dict[str, float], crowd: Crowd, dedupe_seconds: float = 600.0) -> Load:
    """Compute what a crowd asks of Redis."""
    by_name = {cost.name: cost for cost in costs}
    a_second = crowd.connections / 3600
    messages, rooms = crowd.messages * a_second, crowd.room_messages * a_second
    posts = messages * min(crowd.members_online, crowd.nodes)
    rates = {
        "durable": messages,
        "taken off": messages,
        "find": messages * crowd.members_online * (1 - crowd.known),
        "post": posts,
        "room": rooms,
        "presence": 2 * crowd.sessions * a_second,
        "look": crowd.nodes * _LOOKS_A_SECOND,
    }
    shares = [Share(by_name[name].title, rate, by_name[name].at(crowd.nodes)) for name, rate in rates.items()]
    remembered = (messages + rooms) * dedupe_seconds * sizes["key"] + crowd.connections * sizes["user"]
    return Load(crowd, shares, remembered / 2**30, rates["presence"] * sizes["hearing"] / 1e6)


def as_table(load: Load) -> Table:
    """Make the table of a load."""
    crowd = load.crowd
    title = f"Redis for {crowd.nodes} nodes and {crowd.connections:,} connections"
    table = Table(title=title, title_justify="left")
    for heading in ("operation", "a second", "µs each", "cores"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for share in load.shares:
        table.add_row(share.title, f"{share.a_second:,.0f}", f"{share.microseconds:.1f}", f"{share.cores:.2f}")
    table.add_row("together", "", "", f"{load.cores:.2f}")
    table.caption = f"{load.servers} servers at half of a core each; {load.memory_gib:.1f} GiB for keys and users; "
    table.caption += f"each node hears who comes and goes with {load.hearing:.1%} of its core"
    return table


def save(costs: Sequence[Cost], sizes: dict[str, float], loads: Sequence[Load], directory: Path) -> list[Path]:
    """Write the plots, and all figures with what they were measured on; return the paths."""
    from bench.report import scaling_plots

    directory.mkdir(parents=True, exist_ok=True)
    plots = {
        "redis-costs.svg": scaling_plots.costs([cost for cost in costs if len(cost.points) > 1]),
        "redis-load.svg": scaling_plots.loads(loads),
    }
    for name, text in plots.items():
        (directory / name).write_text(text, "utf-8")
    path = directory / "redis-load.json"
    path.write_text(json.dumps(_plain(costs, sizes, loads), indent=1) + "\n", "utf-8")
    return [*(directory / name for name in plots), path]


def _plain(costs: Sequence[Cost], sizes: dict[str, float], loads: Sequence[Load]) -> dict[str, Any]:
    return {
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
        "costs": [asdict(cost) for cost in costs],
        "sizes": sizes,
        "loads": [
            asdict(load) | {"cores": load.cores, "servers": load.servers, "memory_gib": load.memory_gib}
            for load in loads
        ],
    }
