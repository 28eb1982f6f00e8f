"""`chatd bench scale` and `chatd bench redis`: what several nodes carry, and what the Redis between them needs."""

from pathlib import Path

import click

_TO = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("works", nargs=-1, metavar="[WORK]...")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of each point.")
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=3.0, show_default=True)
@click.option(
    "--workers",
    "cassandra",
    default="",
    metavar="HOST:PORT",
    help="1 and 2 workers, on this Cassandra.",
)
@click.option("--to", type=_TO, help="Write the plot and the figures there.")
def scale(works: tuple[str, ...], rounds: int, seconds: float, cassandra: str, to: Path | None) -> None:
    """Measure what a delivery costs 1, 2 and 4 nodes that each have the same load.

    WORK is room, echo or dm; with --workers it is room, rate or full, which grow with them, same-room or same-echo.
    """
    from rich.console import Console

    from bench import linearity
    from bench.cores import share
    from bench.live import LiveLine

    known = linearity.FOR_WORKERS if cassandra else linearity.WORKS
    if unknown := set(works) - known.keys():
        raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}")
    console = Console()
    with LiveLine(console) as live:
        lines = []
        for name in works or known:
            lines.append(linearity.measure(name, share(0), seconds, rounds, live.show, cassandra))
            console.print(linearity.as_table(lines[-1]))
    for path in linearity.save(lines, seconds, to) if to else ():
        click.echo(path)


@click.command("redis")
@click.option("--nodes", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--connections", type=click.IntRange(1), default=10_000_000, show_default=True, help="At all nodes.")
@click.option("--messages", type=float, default=12.0, show_default=True, help="To groups and chats, a user an hour.")
@click.option("--members-online", type=float, default=5.0, show_default=True, help="Of a channel that is written to.")
@click.option("--room-messages", type=float, default=0.1, show_default=True, help="To rooms at all nodes, the same.")
@click.option("--sessions", type=float, default=2.0, show_default=True, help="That begin, a user an hour.")
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Of each measurement.")
@click.option("--to", type=_TO, help="Write plots and figures there, for this size and smaller ones.")
def redis_load(seconds: float, to: Path | None, **crowd: float) -> None:
    """Measure what operations cost Redis; compute what it needs for a cluster of this size."""
    from rich.console import Console

    from bench import redis_load as loads
    from bench.cores import share

    core = share(0).server
    costs = loads.measure(seconds, core)
    sizes = loads.measure_sizes(seconds, core)
    asked = loads.Crowd(**crowd)  # type: ignore[arg-type]  # click has checked which are whole
    Console().print(loads.as_table(loads.load(costs, sizes, asked)))
    if to:
        sizes_shown = [
            loads.Crowd(**{**crowd, "nodes": max(1, asked.nodes // part), "connections": asked.connections // part})  # type: ignore[arg-type]
            for part in (10, 4, 2, 1)
        ]
        shown = [loads.load(costs, sizes, one) for one in sizes_shown]
        for path in loads.save(costs, sizes, shown, to):
            click.echo(path)
