"""`chatd serve`: run a node."""

import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

import click
import structlog
import trio

from chatd import logs
from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit, read_config
from chatd.config import Config
from chatd.ports import url_of
from chatd.redis import RedisError
from chatd.workers.supervisor import Supervisor, WorkerFailed, check
from chatd.workers.tie import end_with_parent
from storage import StoreError

_log = structlog.get_logger("server")


@click.command()
@config_option
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes behind one port; more than one need a Redis and a store that they share.",
)
@click.option("--supervisor", type=int, hidden=True, help="The process that started this worker.")
@click.option("--listen-on", "descriptors", type=int, multiple=True, hidden=True, help="A socket that listens already.")
def serve(path: Path | None, workers: int, supervisor: int | None, descriptors: tuple[int, ...]) -> None:
    """Run a node until it is told to stop.

    SIGTERM lets clients go over server.drain_seconds; a second one ends at once. SIGHUP takes over what was changed in
    the configuration and says what needs a restart. With workers, SIGHUP replaces them one by one.
    """
    config = config_or_exit(path)
    logs.configure(config.log)
    ready = partial(_say_where, _raise_open_files(), config)
    try:
        with exit_on(StoreError, RedisError, OSError):
            if workers > 1:
                check(config, workers)
                trio.run(partial(_supervise, config, path, workers, ready))
            elif supervisor is None:
                trio.run(partial(_serve_node, config, path, ready, None))
            elif end_with_parent(supervisor):
                trio.run(partial(_serve_node, config, path, ready, descriptors))
    except WorkerFailed as error:
        sys.exit(error.code)  # the worker has said why


async def _serve_node(
    config: Config, path: Path | None, on_ready: Callable[[list[str]], None], descriptors: Sequence[int] | None
) -> None:
    # Only here: a supervisor needs none of it, and would have half of its memory for it.
    from chatd.server import serve as serve_node

    await serve_node(config, partial(read_config, path), on_ready, descriptors)


async def _supervise(config: Config, path: Path | None, workers: int, on_ready: Callable[[list[str]], None]) -> None:
    supervisor = Supervisor(config, path, workers, partial(read_config, path))
    await supervisor.run(lambda addresses: on_ready([url_of(config, *at) for at in addresses]))


def _raise_open_files() -> float:
    """Let this process open as many files as its user may; return how many that is.

    Each connection is a file, and many systems begin with 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS: what it calls no limit is more than its kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return inf if most == resource.RLIM_INFINITY else most


def _say_where(files: float, config: Config, urls: list[str]) -> None:
    """Print where the node is: the one thing that goes to standard output, for people and for scripts."""
    connections = config.limits.connections
    if files <= connections:
        _log.warning("fewer open files than limits.connections", files=files, connections=connections)
    if config.broker.kind == "redis" and config.store.kind == "sqlite":
        _log.warning("nodes that share Redis have each a history of its own: let them share a store too (store.kind)")
    for url in urls:
        click.echo(f"chatd serves {url}")
    sys.stdout.flush()
