"""What the commands have in common: finding the configuration, and saying what is wrong with it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from chatd.config import Config, ConfigError, load

DEFAULT_FILE = Path("config.toml")

config_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The configuration file. Without it config.toml, if there is one here; else the defaults.",
)


def read_config(path: Path | None) -> Config:
    """Load the configuration, with CHATD_… variables on top.

    Raises:
        ConfigError: It cannot be used.
    """
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    return load(path, os.environ)


def config_or_exit(path: Path | None) -> Config:
    """Load the configuration, or say in one line what is wrong with it and exit with code 2."""
    try:
        return read_config(path)
    except ConfigError as error:
        exit_for(error)


def exit_for(error: ConfigError) -> NoReturn:
    """Say in one line what is wrong with the configuration and exit with code 2."""
    click.echo(f"chatd: {error}", err=True)
    sys.exit(2)
