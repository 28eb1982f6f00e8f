"""Options that several commands of the bench have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.warming import WARM_SECONDS

_F = TypeVar("_F", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def common(command: _F) -> _F:
    """Add the options that every scenario has."""
    options = [
        click.option("--rounds", type=click.IntRange(1, 100), default=1, show_default=True, help="Runs per server."),
        click.option("--workers", type=click.IntRange(0, 64), default=0, help="Load generator processes; 0: by cores."),
        click.option("--body-bytes", type=click.IntRange(64, 65536), default=200, show_default=True),
        click.option("--config", type=FILE, help="What the server started here runs with; default: bench/config.toml."),
        click.option("--store", type=click.Choice(["sqlite", "cassandra"]), default="sqlite", show_default=True),
        click.option("--cassandra", default="", metavar="HOST:PORT", help="One that runs already; else it is started."),
        cassandra_warm_seconds,
        click.option("--nodes", type=click.IntRange(0, 64), default=0, help="So many, with a Redis; 0: one without."),
        click.option("--server-workers", type=click.IntRange(0, 64), default=0, help="Behind one port, with a Redis."),
        click.option("--address", default="", metavar="HOST:PORT", help="Load a server that runs already."),
        click.option("--encoding", type=click.Choice(["json", "msgpack"]), default="json", show_default=True),
        click.option("--compress", is_flag=True, help="All clients agree on permessage-deflate."),
        click.option("--speaks", type=click.Choice(["chatd", "centrifugo"]), default="chatd", help="…its protocol."),
        click.option("--pid", type=int, default=0, help="…its process, to measure CPU and memory."),
        click.option("--secret-file", default="", help="…the file with its secret, to sign tokens."),
        click.option("--allow-remote", is_flag=True, help="…even if it is another machine: it must be yours to load."),
        click.option(
            "--peer", default="", metavar="centrifugo=BINARY|chatd", help="Alternate with it; chatd is plain JSON."
        ),
        click.option("--results", type=click.Path(path_type=Path), help="Where files go; default: bench/results."),
        click.option("--no-page", is_flag=True, help="Write no HTML page."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def cassandra_warm_seconds(command: _F) -> _F:
    return click.option(
        "--cassandra-warm-seconds",
        type=click.FloatRange(0, 3600),
        default=WARM_SECONDS,
        show_default=True,
        help="At most, with the load itself, for one that is started.",
    )(command)


def clients(count: int) -> Callable[[_F], _F]:
    return click.option("--clients", type=click.IntRange(1, 200_000), default=count, show_default=True)


def seconds(count: float) -> Callable[[_F], _F]:
    return click.option("--seconds", type=click.FloatRange(0.5, 3600), default=count, show_default=True)


def rate(count: float) -> Callable[[_F], _F]:
    what = "Messages a second over all writers; 0: by --in-flight."
    return click.option("--rate", type=click.FloatRange(0, 1e6), default=count, show_default=True, help=what)


def in_flight(count: int) -> Callable[[_F], _F]:
    what = "Unanswered sends of each writer."
    return click.option("--in-flight", type=click.IntRange(0, 1000), default=count, show_default=True, help=what)
