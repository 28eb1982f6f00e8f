"""What a command says, and what it exits with, when it cannot be done."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from chatd.config import ConfigError


@contextmanager
def exit_on(*failures: type[Exception]) -> Iterator[None]:
    """Say in one line why what is inside failed, and exit: with 2 where it is the configuration, else with 1."""
    try:
        yield
    except ConfigError as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(2)
    except failures as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(1)
