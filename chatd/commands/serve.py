"""`chatd serve`: run a node."""

import sys
from functools import partial
from pathlib import Path

import click
import trio

from chatd import logs
from chatd.commands.options import config_option, config_or_exit, read_config
from chatd.config import ConfigError
from chatd.server import serve as serve_node
from storage import StoreError


@click.command()
@config_option
def serve(path: Path | None) -> None:
    """Run a node until it is told to stop.

    SIGTERM lets clients go over server.drain_seconds; a second one ends at once. SIGHUP takes over what was changed in
    the configuration and says what needs a restart.
    """
    config = config_or_exit(path)
    logs.configure(config.log)
    try:
        trio.run(partial(serve_node, config, partial(read_config, path), _say_where))
    except ConfigError as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(2)
    except (StoreError, OSError) as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(1)


def _say_where(urls: list[str]) -> None:
    """Print where the node is: the one thing that goes to standard output, for people and for scripts."""
    for url in urls:
        click.echo(f"chatd serves {url}")
    sys.stdout.flush()
