"""Plots of what clusters cost: several nodes, and the Redis between them."""

from collections.abc import Sequence

from bench.linearity import Line
from bench.redis_load import Cost, Load
from bench.report.plots import COLOURS, as_svg, figure_of

_PALE = "#94a3b8"


def linearity(lines: Sequence[Line]) -> str:
    """Draw what so many nodes, or workers, carry, as a multiple of what one does, beside the straight line."""
    of = lines[0].of
    figure, axes = figure_of(f"What {of}s with a core each carry", f"{of}s", "times what one carries")
    for line, colour in zip(lines, COLOURS, strict=False):
        numbers = [point.nodes for point in line.points]
        spreads = [found for point in line.points if (found := line.times(point))]
        middle = [found[1] for found in spreads]
        errors = [[found[1] - found[0] for found in spreads], [found[2] - found[1] for found in spreads]]
        axes.errorbar(numbers, middle, yerr=errors, color=colour, marker="o", markersize=4, capsize=3, label=line.work)
    numbers = [point.nodes for point in lines[0].points]
    axes.plot(numbers, numbers, color=_PALE, linestyle="--", label="linear")
    axes.set_xticks(numbers)
    axes.set_ylim(bottom=0)
    return as_svg(figure, axes)


def costs(measured: Sequence[Cost]) -> str:
    """Draw what an operation costs Redis by how many nodes hear of it."""
    figure, axes = figure_of("What Redis does for one operation", "nodes that hear of it", "µs of Redis' CPU")
    for cost, colour in zip(measured, COLOURS, strict=False):
        axes.plot(
            list(cost.points), list(cost.points.values()), color=colour, marker="o", markersize=4, label=cost.title
        )
    axes.set_ylim(bottom=0)
    return as_svg(figure, axes)


def loads(computed: Sequence[Load]) -> str:
    """Draw how many cores of Redis clusters of several sizes keep busy, by operation."""
    figure, axes = figure_of("Computed: what a cluster asks of Redis", "connections", "cores of Redis that are busy")
    labels = [f"{load.crowd.connections / 1e6:g} M, {load.crowd.nodes} nodes" for load in computed]
    bottom = [0.0] * len(computed)
    palette = (*COLOURS, _PALE, "#be123c", "#0e7490")
    for number, colour in zip(range(len(computed[0].shares)), palette, strict=True):
        heights = [load.shares[number].cores for load in computed]
        axes.bar(labels, heights, bottom=bottom, color=colour, label=computed[0].shares[number].title, width=0.5)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    return as_svg(figure, axes)
