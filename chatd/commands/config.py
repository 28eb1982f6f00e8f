"""`chatd config`: check a configuration, and show what is in force."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from chatd.commands.options import config_option, config_or_exit, exit_for
from chatd.config import Config, ConfigError
from chatd.credentials import check_credentials

_HIDDEN = "(hidden)"


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@config_option
def check(path: Path | None) -> None:
    """Check the configuration, and the secrets that it names.

    The exit code is 0 if it can be used, else 2, with a line that names the key.
    """
    config = config_or_exit(path)
    try:
        check_credentials(config, os.environ)
    except ConfigError as error:
        exit_for(error)
    click.echo("the configuration is good")


@config.command()
@config_option
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@click.option("--passwords", is_flag=True, help="Print passwords too.")
def show(path: Path | None, changed: bool, passwords: bool) -> None:
    """Print the configuration in force as TOML: the defaults, the file and the CHATD_… variables together."""
    tree = msgspec.to_builtins(config_or_exit(path))
    if not passwords:
        _hide_passwords(tree)
    if changed:
        tree = _differing(tree, msgspec.to_builtins(Config()))
    sys.stdout.write(as_toml(tree))


def _hide_passwords(tree: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _hide_passwords(value)
        elif key.endswith("password") and value:
            tree[key] = _HIDDEN


def _differing(tree: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    different: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            value = _differing(value, default.get(key, {}))
            if value:
                different[key] = value
        elif key not in default or value != default[key]:
            different[key] = value
    return different


def as_toml(tree: dict[str, Any], name: str = "") -> str:
    """Write a tree of tables and plain values as TOML."""
    values = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    text = "".join(f"{key} = {_value(value)}\n" for key, value in values.items())
    if name and values:
        text = f"[{name}]\n{text}\n"
    tables = ((f"{name}.{key}" if name else key, value) for key, value in tree.items() if isinstance(value, dict))
    return text + "".join(as_toml(value, table) for table, value in tables)


def _value(value: object) -> str:
    """Write a value as JSON, whose texts, numbers and lists are TOML's too; but for one character."""
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
