"""`chatd serve`: run a node."""

import resource
import sys
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

import click
import structlog
import trio

from chatd import logs
from chatd.commands.options import config_option, config_or_exit, read_config
from chatd.config import ConfigError
from chatd.server import serve as serve_node
from storage import StoreError

_log = structlog.get_logger("server")


@click.command()
@config_option
def serve(path: Path | None) -> None:
    """Run a node until it is told to stop.

    SIGTERM lets clients go over server.drain_seconds; a second one ends at once. SIGHUP takes over what was changed in
    the configuration and says what needs a restart.
    """
    config = config_or_exit(path)
    logs.configure(config.log)
    ready = partial(_say_where, _raise_open_files(), config.limits.connections)
    try:
        trio.run(partial(serve_node, config, partial(read_config, path), ready))
    except ConfigError as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(2)
    except (StoreError, OSError) as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(1)


def _raise_open_files() -> float:
    """Let this process open as many files as its user may; return how many that is.

    Each connection is a file, and many systems begin with 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS: what it calls no limit is more than its kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return inf if most == resource.RLIM_INFINITY else most


def _say_where(files: float, connections: int, urls: list[str]) -> None:
    """Print where the node is: the one thing that goes to standard output, for people and for scripts."""
    if files <= connections:
        _log.warning("fewer open files than limits.connections", files=files, connections=connections)
    for url in urls:
        click.echo(f"chatd serves {url}")
    sys.stdout.flush()
