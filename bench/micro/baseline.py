"""The costs that were measured before, in passes of the reference loop, and how today's compare."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from bench.micro.clock import Cost

BASELINE = Path(__file__).with_name("baseline.json")

TOLERANCE = 1.25
"""More than this times the baseline is called slower; less is noise of a shared machine."""


def load(path: Path = BASELINE) -> dict[str, float]:
    """Return the stored costs; empty when there are none."""
    return {name: float(cost) for name, cost in json.loads(path.read_text()).items()} if path.exists() else {}


def save(costs: Mapping[str, Cost], path: Path = BASELINE) -> None:
    """Store costs as the new baseline."""
    path.write_text(json.dumps({name: round(cost.references, 5) for name, cost in costs.items()}, indent=2) + "\n")


def slower(costs: Mapping[str, Cost], baseline: Mapping[str, float]) -> list[str]:
    """Name what costs clearly more than it did."""
    return [name for name, cost in costs.items() if name in baseline and cost.references > baseline[name] * TOLERANCE]


def as_table(costs: Mapping[str, Cost], baseline: Mapping[str, float]) -> Table:
    """Make the table for the terminal."""
    table = Table(title="Costs in isolation", title_justify="left")
    for heading in ("part", "µs", "reference loops", "baseline", "ratio"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name, cost in costs.items():
        before = baseline.get(name)
        ratio = f"{cost.references / before:.2f}×" if before else "–"
        cells = (f"{cost.microseconds:.3f}", f"{cost.references:.4f}", f"{before:.4f}" if before else "–", ratio)
        table.add_row(name, *cells)
    return table
