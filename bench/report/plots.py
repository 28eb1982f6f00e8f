"""Plots as SVG: what all of them have in common, and those of sweeps."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.results import spread
from bench.sweep import Curve

COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea")


def cost(heading: str, unit: str, curve: Curve) -> str:
    """Draw what a delivery costs at each value: the median of the rounds, and from the least to the most."""
    figure, axes = figure_of(heading, unit, "µs of server CPU a delivery")
    spreads = [found for point in curve.points if (found := spread(point.microseconds))]
    values = [point.value for point in curve.points]
    middle = [found[1] for found in spreads]
    errors = [[found[1] - found[0] for found in spreads], [found[2] - found[1] for found in spreads]]
    axes.errorbar(values, middle, yerr=errors, color=COLOURS[0], marker="o", markersize=4, capsize=3)
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    return as_svg(figure, axes)


def figure_of(heading: str, across: str, up: str) -> tuple[Figure, Any]:
    """Begin a plot with one pair of axes."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(heading, loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    return figure, axes


def as_svg(figure: Figure, axes: Any) -> str:
    """Draw it; the text stays text, and equal plots are equal bytes."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "chatd"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
