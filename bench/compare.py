"""Lays two results of the same scenario side by side."""

from rich.table import Table

from bench.report.words import number, spread_text, title
from bench.results import Result, Spread


class NotComparable(Exception):
    """The two results are of different scenarios."""


def compare(before: Result, after: Result) -> Table:
    """Make a table of the figures of the first server in both, and the ratio of their medians.

    Raises:
        NotComparable: They are of different scenarios.
    """
    if before.scenario != after.scenario:
        raise NotComparable(f"{before.scenario} and {after.scenario} are different scenarios")
    table = Table(title=before.scenario, title_justify="left", caption=_caption(before, after), caption_justify="left")
    for heading in ("figure", "A", "B", "B over A"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name in before.figures():
        one = before.figure(before.targets[0], name)
        other = after.figure(after.targets[0], name)
        table.add_row(title(name), spread_text(one), spread_text(other), _ratio(one, other))
    return table


def differences(before: Result, after: Result) -> list[str]:
    """Name options and facts of the machine that differ, since figures then cannot be laid to the program alone."""
    lines = []
    facts = (
        ("option", "–", before.options, after.options),
        ("machine", "–", before.machine, after.machine),
        ("version", "–", before.versions, after.versions),
        ("config", "as shipped", before.config_changes, after.config_changes),
    )
    for what, absent, one, other in facts:
        names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        lines += [f"{what} {name}: {one.get(name, absent)} → {other.get(name, absent)}" for name in names]
    return lines


def _caption(before: Result, after: Result) -> str:
    return "\n".join(differences(before, after))


def _ratio(one: Spread | None, other: Spread | None) -> str:
    if one is None or other is None or not one[1]:
        return "–"
    overlap = one[0] <= other[2] and other[0] <= one[2]
    return f"{number(other[1] / one[1])}×" + (" (within the spread)" if overlap and one != other else "")
