"""Aims of the design, measured beside a peer in alternating rounds, and the table of what was found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from bench import results
from bench.cores import share
from bench.report.words import number, spread_text
from bench.results import Result, Spread
from bench.runs import Plan, run
from bench.scenarios import NEEDS_CHATD, AnyScenario
from bench.targets import Target
from bench.watch import Show


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure of a scenario and what it should be: our figure itself, or its ratio to the peer's."""

    name: str
    figure: str
    bound: float
    at_least: bool = True
    of_peer: bool = True

    def text(self) -> str:
        """Say what is wanted."""
        return f"{'≥' if self.at_least else '≤'} {number(self.bound)}{'×' if self.of_peer else ''}"

    def is_met(self, ours: float) -> bool:
        """Tell whether a figure (or a ratio) is good enough."""
        return ours >= self.bound if self.at_least else ours <= self.bound


@dataclass(frozen=True, slots=True)
class Work:
    """A scenario and the aims that it can show."""

    scenario: str
    options: AnyScenario
    aims: tuple[Aim, ...]
    beside_itself: Target | None = None  # chatd spoken to in another way, beside chatd in plain JSON
    nodes: int = 0  # through a Redis; 0: one node without it
    peer_history: bool = True  # of nodes: whether the peer keeps messages, as chatd does


@dataclass(frozen=True, slots=True)
class Row:
    """One aim and what was measured."""

    aim: Aim
    result: Result

    @property
    def ours(self) -> Spread | None:
        """Our figure."""
        return self.result.figure(self.result.targets[0], self.aim.figure)

    @property
    def peer(self) -> Spread | None:
        """The peer's, if there was one."""
        others = self.result.targets[1:]
        return self.result.figure(others[0], self.aim.figure) if others else None

    @property
    def ratio(self) -> Spread | None:
        """Ours over the peer's, round by round."""
        return self.result.ratio(self.aim.figure)

    @property
    def verdict(self) -> str:
        """Say whether the median meets the aim; nothing where it cannot be told."""
        told = self.ratio if self.aim.of_peer else self.ours
        if told is None:
            return "–"
        return "yes" if self.aim.is_met(told[1]) else "NO"


def measure(listed: Sequence[Work], peer: str, rounds: int, only: str, directory: Path, show: Show) -> list[Row]:
    """Measure those of the works whose aims' names contain `only`; save each result."""
    rows = []
    for work in listed:
        aims = [aim for aim in work.aims if only in aim.name]
        if aims:
            target = work.beside_itself or Target(peer="" if work.scenario in NEEDS_CHATD else peer)
            if work.nodes:
                target = replace(target, nodes=work.nodes, peer_history=work.peer_history)
            plan = Plan(share(0), rounds, speaks=target.name)
            result = run(work.scenario, work.options, target.launches(), plan, show)
            results.save(result, directory)
            rows += [Row(aim, result) for aim in aims]
    return rows


_HEADINGS = ("work", "aim", "chatd", "peer", "ratio", "met")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = spread_text(row.ratio, "×")
    return row.aim.name, row.aim.text(), spread_text(row.ours), spread_text(row.peer), ratio, row.verdict


def as_table(rows: Sequence[Row]) -> Table:
    """Make the table for the terminal."""
    table = Table(title="Aims: median (minimum–maximum) of the rounds", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    """Make the same table as Markdown."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
