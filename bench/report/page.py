"""The result as one HTML page that needs nothing else: tables, and plots as SVG inside."""

import html
import math
import time
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator

from bench.bed import Round
from bench.histogram import Histogram
from bench.report.plots import COLOURS, as_svg, figure_of
from bench.report.table import remarks
from bench.report.words import spread_text, title
from bench.results import Result

_PERCENTS = (0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99)
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1f2937}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;border-bottom:1px solid #e5e7eb;text-align:right}
td:first-child,th:first-child{text-align:left}
svg{max-width:100%;height:auto}
pre{background:#f3f4f6;padding:1rem;overflow:auto}
.wrong{color:#b91c1c;font-weight:bold}
"""


def write(result: Result, path: Path) -> None:
    """Write the page."""
    path.write_text(render(result), "utf-8")


def render(result: Result) -> str:
    """Return the page's text."""
    started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.started))
    name = html.escape(result.scenario)
    notes = "".join(
        f"<p{' class=wrong' * line.startswith('WRONG')}>{html.escape(line)}</p>" for line in remarks(result)
    )
    plots = "".join(_plots(result))
    versions = {one.target: one.version for one in result.rounds} | result.versions
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>chatd bench: {name}</title><style>{_STYLE}</style>"
        f"<h1>{name}</h1><p>{started}</p>{_figures(result)}{notes}{plots}"
        f"<h2>Asked for</h2>{_pairs(result.options)}<h2>Machine</h2>{_pairs(result.machine)}"
        f"<h2>Versions</h2>{_pairs(versions)}"
        f"<h2>Configuration, where it is not as shipped</h2>{_pairs(result.config_changes)}</html>"
    )


def _figures(result: Result) -> str:
    targets = result.targets
    two = len(targets) > 1
    heads = "".join(f"<th>{html.escape(target)}</th>" for target in targets) + "<th>ratio</th>" * two
    rows = []
    for name in result.figures():
        cells = [spread_text(result.figure(target, name)) for target in targets]
        if two:
            cells.append(spread_text(result.ratio(name), "×"))
        rows.append(f"<tr><td>{html.escape(title(name))}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><tr><th></th>{heads}</tr>{''.join(rows)}</table>"


def _pairs(pairs: dict[str, Any]) -> str:
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in pairs.items())
    return f"<table>{rows}</table>"


def _plots(result: Result) -> list[str]:
    plots = []
    if any(one.delivery.total for one in result.rounds):
        plots.append(_latencies(result, "Delivery", "delivery"))
    if any(one.ack.total for one in result.rounds):
        plots.append(_latencies(result, _answered(result), "ack"))
    if not any(one.ticks for one in result.rounds):
        return plots  # all was over before there was anything to draw
    ticks = [
        ("Rate over time", "per second", ("deliveries_per_second", "acks_per_second")),
        ("Connections over time", "connections", ("connections",)),
        ("Server CPU over time", "share of a core", ("server_cpu", "generator_cpu")),
        ("Server memory over time", "MiB resident", ("server_mib",)),
    ]
    plots += [_over_time(result, heading, unit, names) for heading, unit, names in ticks]
    plots.append(_over_connections(result, "Server CPU over connections", "share of a core", "server_cpu"))
    plots.append(_over_connections(result, "Server memory over connections", "MiB resident", "server_mib"))
    return plots


def _answered(result: Result) -> str:
    """Say what was answered in this scenario."""
    figures = result.figures()
    words = (word for word in ("connect", "return") if f"{word}_p50_ms" in figures and "ack_p50_ms" not in figures)
    return next(words, "ack").capitalize()


def _latencies(result: Result, word: str, kind: str) -> str:
    figure, axes = figure_of(f"{word} latency by percentile", "percentile", "ms")
    places = range(len(_PERCENTS))
    for colour, target in zip(COLOURS, result.targets, strict=False):
        merged = Histogram()
        for one in result.of(target):
            merged.merge(getattr(one, kind))
        if merged.total:
            values = merged.percentiles_ms(max(percent, 0.001) for percent in _PERCENTS)
            axes.plot(places, values, color=colour, marker="o", markersize=3, label=target)
    axes.set_xticks(list(places), [f"{percent:g}" for percent in _PERCENTS])
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    return as_svg(figure, axes)


def _over_time(result: Result, heading: str, unit: str, names: tuple[str, ...]) -> str:
    figure, axes = figure_of(heading, "seconds since the round began", unit)
    for colour, target in zip(COLOURS, result.targets, strict=False):
        for name, style in zip(names, ("-", ":"), strict=False):
            for number, one in enumerate(result.of(target)):
                label = f"{target}: {title(name)}" if number == 0 else None
                at, values = _series(one, name)
                axes.plot(at, values, style, color=colour, label=label, alpha=0.8, linewidth=1.2)
    _from_zero(axes)
    return as_svg(figure, axes)


def _over_connections(result: Result, heading: str, unit: str, name: str) -> str:
    figure, axes = figure_of(heading, "connections", unit)
    for colour, target in zip(COLOURS, result.targets, strict=False):
        for number, one in enumerate(result.of(target)):
            connections, values = _series(one, "connections")[1], _series(one, name)[1]
            axes.plot(connections, values, ".", color=colour, label=target if number == 0 else None, alpha=0.6)
    _from_zero(axes)
    return as_svg(figure, axes)


def _from_zero(axes: Any) -> None:
    """Show the height of what is drawn, with room above it: a line along the edge is not seen."""
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.15 * highest if 0 < highest < math.inf else None)


def _series(one: Round, name: str) -> tuple[list[float], list[float]]:
    return [tick.at for tick in one.ticks], [float(getattr(tick, name)) for tick in one.ticks]
