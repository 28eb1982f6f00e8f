"""`chatd bench` and `python -m bench`: the commands of scenarios, and what is measured and done beside them.

What a command needs is imported when it runs, so that `chatd --help` works where the `bench` extra is not installed.
"""

from pathlib import Path
from typing import Any

import click

from bench import scenario_cli
from bench.failures import plain_errors
from bench.options import FILE, cassandra_warm_seconds, clients, in_flight, seconds
from bench.scaling_cli import redis_load, scale

_EXTRA = ("numpy", "matplotlib")


class _NeedsExtra(click.Group):
    """Says in one line what to install where the extra is missing."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name not in _EXTRA:
                raise
            raise click.ClickException(f"{error.name} is missing: pip install 'chatd[bench]'") from error


@click.group(cls=_NeedsExtra, context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure a chatd server, or one beside another.

    Without --address the bench starts the server itself, on one core, and loads it from the others. Every delivery is
    checked for loss, repeats and order. Needs the extra: pip install 'chatd[bench]'.
    """


@bench.command()
@click.option("--rounds", type=click.IntRange(1, 1000), default=20, show_default=True)
@clients(100)
@in_flight(4)
@click.option("--longest-seconds", type=click.FloatRange(0, 60), default=1.5, show_default=True, help="Before a kill.")
@click.option("--seed", type=int, default=0, help="Of the random moments.")
@click.option("--config", type=FILE, help="What the server runs with; default: bench/config.toml.")
def kill(**options: Any) -> None:
    """Kill the server under load, again and again: is any acknowledged message lost, or any kept twice?"""
    import trio

    from bench.cores import share
    from bench.kill import Kill, kill_test
    from bench.servers import CONFIG, ServerFailed

    options["config"] = options["config"] or CONFIG
    try:
        report = trio.run(kill_test, Kill(**options), share(0), click.echo)
    except ServerFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.summary())
    if not report.verdict.is_good:
        raise SystemExit(1)


@bench.command("cassandra")
@click.option("--senders", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--channels", type=click.IntRange(1, 10_000), default=100, show_default=True, help="They write into.")
@click.option("--body-bytes", type=click.IntRange(64, 65536), default=200, show_default=True)
@seconds(5.0)
@click.option("--cassandra", "address", default="", metavar="HOST:PORT", help="One that runs; else it is started.")
@cassandra_warm_seconds
def bare_cassandra(address: str, cassandra_warm_seconds: float, **options: Any) -> None:
    """What Cassandra takes without chatd: the driver in a bare loop, and chatd's store alone."""
    from rich.console import Console

    from bench.bare_cassandra import as_table, measure
    from bench.store_load import Load

    if options["senders"] < options["channels"]:
        raise click.UsageError("--senders: at least as many as --channels")
    with plain_errors():
        Console().print(as_table(measure(Load(**options), address, cassandra_warm_seconds)))


@bench.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
def compare(before: Path, after: Path) -> None:
    """Lay two results (JSON files) of one scenario side by side."""
    from rich.console import Console

    from bench import results
    from bench.compare import NotComparable, compare

    try:
        Console().print(compare(results.load(before), results.load(after)))
    except (results.ResultError, NotComparable) as error:
        raise click.ClickException(str(error)) from error


@bench.command()
@click.option("--peer", default="", metavar="centrifugo=BINARY", help="The server to compare with.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=4.0, show_default=True, help="Of each round.")
@click.option("--only", default="", help="Only rows whose names contain this.")
@click.option("--redis", is_flag=True, help="The aims of two nodes with a Redis between them; needs redis-server.")
@click.option("--results", type=click.Path(path_type=Path), help="Where files go; default: bench/results.")
def aims(peer: str, rounds: int, seconds: float, only: str, redis: bool, results: Path | None) -> None:
    """Measure every aim of the design beside a peer; print the table, as Markdown too."""
    from rich.console import Console

    from bench import aims as table
    from bench import aims_node, aims_redis
    from bench.live import LiveLine
    from bench.results import RESULTS

    console = Console()
    with LiveLine(console) as line, plain_errors():
        works = aims_redis.works(seconds) if redis else aims_node.works(seconds)
        rows = table.measure(works, peer, rounds, only, results or RESULTS, line.show)
    console.print(table.as_table(rows))
    click.echo(table.as_markdown(rows))
    if not all(row.result.is_good for row in rows):
        raise SystemExit(1)


@bench.command()
@click.option("--save", is_flag=True, help="Make today's costs the baseline.")
def micro(save: bool) -> None:
    """Measure codec, frames, fan-out and router in isolation, beside the stored baseline."""
    from rich.console import Console

    from bench.micro import baseline
    from bench.micro.cases import cases
    from bench.micro.clock import measure
    from bench.micro.routing import route

    costs = {case.name: measure(case.function, case.calls) for case in cases()} | route()
    before = baseline.load()
    Console().print(baseline.as_table(costs, before))
    if save:
        baseline.save(costs)
    elif slower := baseline.slower(costs, before):
        raise click.ClickException("slower than before: " + ", ".join(slower))


@bench.command()
@click.argument("axes", nargs=-1, metavar="[readers|size|channels|connections]...")
@click.option("--values", default="", metavar="N,N,…", help="Other values than usual; for one axis.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of each point.")
@seconds(3.0)
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Write plots and figures there.")
def sweep(axes: tuple[str, ...], values: str, rounds: int, seconds: float, to: Path | None) -> None:
    """Measure how the cost of a delivery grows with readers, message size, channels and connections."""
    from rich.console import Console

    from bench import sweep as sweeps
    from bench.cores import share
    from bench.live import LiveLine
    from bench.targets import Target

    if unknown := set(axes) - sweeps.AXES.keys():
        raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}")
    given = _numbers(values)
    if given and len(axes) != 1:
        raise click.UsageError("--values is for one axis")
    console = Console()
    [launch] = Target().launches()
    with LiveLine(console) as line, plain_errors():
        curves = []
        for name in axes or sweeps.AXES:
            curves.append(sweeps.measure(name, given, launch, share(0), seconds, rounds, line.show))
            console.print(sweeps.as_table(curves[-1]))
    for path in sweeps.save(curves, seconds, to) if to else ():
        click.echo(path)


for command in (*scenario_cli.COMMANDS, scale, redis_load):
    bench.add_command(command)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise click.UsageError(f"--values: {error}") from error
