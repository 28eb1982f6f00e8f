"""`chatd db keys`: the keys that message bodies are sealed with."""

import os
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config, ConfigError
from chatd.master_keys import make_file, open_ring
from chatd.stores import open_data_keys
from storage import StoreError
from storage.records import DataKeyRecord
from storage.sealing import KeyMissing, KeyRing


@click.group()
def keys() -> None:
    """Make, list and rotate the keys that message bodies are sealed with.

    Master keys are yours, in files or variables that store.encryption.keys names; data keys are in the store, wrapped
    with a master key. All commands may be used while chatd serves.
    """


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def make(file: Path) -> None:
    """Write a new random master key to the new FILE.

    Keep a copy of it elsewhere: without it nothing that is sealed can ever be read.
    """
    try:
        make_file(file)
    except OSError as error:
        click.echo(f"chatd: {file}: {error.strerror}", err=True)
        sys.exit(1)
    click.echo(
        f'{file}: a master key; name it in store.encryption.keys: {{ "{file.stem}" = "file:{file.absolute()}" }}'
    )


@keys.command("list")
@config_option
def list_command(path: Path | None) -> None:
    """Show the data keys of the store, and whether the master keys at hand open them."""
    config = config_or_exit(path)
    found, ring = _run(_list, config)
    sealing = [record for record in found if record.master == config.store.encryption.active][-1:]
    for record in found:
        made = datetime.fromtimestamp(record.created_at / 1000, UTC).isoformat(" ", "seconds")
        state = _state(ring, record) + (", seals" if record in sealing else "")
        click.echo(f"{record.data_key}  made {made}  master key {record.master}: {state}")
    if not found:
        click.echo("no data keys")


async def _list(config: Config) -> tuple[list[DataKeyRecord], KeyRing]:
    async with open_data_keys(config) as store:
        return await store.data_keys(), open_ring(config.store.encryption, os.environ)


def _state(ring: KeyRing, record: DataKeyRecord) -> str:
    try:
        ring.unwrap(record)
    except KeyMissing:
        return "does not open"
    return "opens"


@keys.command()
@config_option
def rotate(path: Path | None) -> None:
    """Make a new data key, with which everything is sealed from now on.

    Nodes take it over within store.encryption.refresh_seconds. What is sealed already stays as it is, and is read with
    the older data keys.
    """
    config = config_or_exit(path)
    made = _run(_rotate, config)
    click.echo(f"{made.data_key}: a data key, wrapped with the master key {made.master}")


async def _rotate(config: Config) -> DataKeyRecord:
    async with open_data_keys(config) as store:
        made = _ring(config).make(int(time.time() * 1000))
        await store.put_data_key(made)
        return made


@keys.command()
@config_option
def rewrap(path: Path | None) -> None:
    """Wrap all data keys with the active master key.

    Then no other master key is needed any more. Both, the active one and those that were used before, must be named in
    store.encryption.keys while it runs. No message is touched.
    """
    changed = _run(_rewrap, config_or_exit(path))
    click.echo(f"{changed} data keys wrapped anew")


async def _rewrap(config: Config) -> int:
    ring = _ring(config)
    async with open_data_keys(config) as store:
        others = [record for record in await store.data_keys() if record.master != config.store.encryption.active]
        anew = [ring.rewrap(record) for record in others]  # all of them, before the first is written
        for record in anew:
            await store.put_data_key(record)
        return len(anew)


def _ring(config: Config) -> KeyRing:
    encryption = config.store.encryption
    if not encryption.active:
        raise ConfigError("store.encryption.active: name the master key that data keys are to be wrapped with")
    return open_ring(encryption, os.environ)


def _run(action: Callable[[Config], Coroutine[Any, Any, Any]], config: Config) -> Any:
    """Run an action; what goes wrong is one line and exit code 1, or 2 where it is the configuration."""
    with exit_on(StoreError, OSError):
        return trio.run(partial(action, config))
