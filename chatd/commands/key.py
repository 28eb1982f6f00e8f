"""`chatd key`: the API keys of backends."""

import time
from pathlib import Path

import click

from chatd.backend.actions import BackendAction
from chatd.backend.audit import Audit
from chatd.backend.key_text import KeyHash
from chatd.backend.keyring import Keyring
from chatd.backend.keys import why_invalid
from chatd.commands.on_store import OPERATOR, run_on_store, shown_time
from chatd.commands.options import config_option
from chatd.config import Config
from storage import Store
from storage.records import ApiKeyRecord

_DAY_SECONDS = 86_400


@click.group()
def key() -> None:
    """Make, list, rotate and revoke the API keys of backends.

    All of it may be used while chatd serves; nodes know of it within backend.key_refresh_seconds.
    """


@key.command()
@click.argument("title")
@click.option(
    "--action",
    "actions",
    multiple=True,
    required=True,
    help=f"What it may do; give it several times. One of {', '.join(BackendAction)}, or * for all.",
)
@click.option(
    "--namespace", "namespaces", multiple=True, default=("*",), show_default=True, help="Where; several times, or *."
)
@click.option("--days", type=click.IntRange(min=1, max=36500), help="After so many days it ends; never if not given.")
@config_option
def create(
    title: str, actions: tuple[str, ...], namespaces: tuple[str, ...], days: int | None, path: Path | None
) -> None:
    """Make a key for the program called TITLE and print it. It is shown this once."""

    async def make(config: Config, secret: bytes, store: Store) -> None:
        ends = None if days is None else int((time.time() + days * _DAY_SECONDS) * 1000)
        record, text = await _keyring(secret, store).create(title, actions, namespaces, ends)
        await Audit(store, time.time).note(OPERATOR, "key.create", record.key_id, title=title)
        click.echo(text)

    run_on_store(path, make)


@key.command("list")
@config_option
def list_command(path: Path | None) -> None:
    """Show every key: its id, what it may do, and when it was used last."""

    async def show(config: Config, secret: bytes, store: Store) -> None:
        for record in await _keyring(secret, store).all():
            click.echo(_line(record))

    run_on_store(path, show)


@key.command()
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(min=0, max=8760),
    default=24.0,
    show_default=True,
    help="For how long the old key is good beside the new one.",
)
@config_option
def rotate(key_id: str, overlap_hours: float, path: Path | None) -> None:
    """Make a key with the rights of KEY_ID and print it; the old one ends after the overlap."""

    async def change(config: Config, secret: bytes, store: Store) -> None:
        record, text = await _keyring(secret, store).rotate(key_id, overlap_hours * 3600)
        await Audit(store, time.time).note(OPERATOR, "key.rotate", key_id, new=record.key_id)
        click.echo(text)

    run_on_store(path, change)


@key.command()
@click.argument("key_id")
@config_option
def revoke(key_id: str, path: Path | None) -> None:
    """End the key KEY_ID; its server sessions close."""

    async def end(config: Config, secret: bytes, store: Store) -> None:
        await _keyring(secret, store).revoke(key_id)
        await Audit(store, time.time).note(OPERATOR, "key.revoke", key_id)
        click.echo(f"{key_id} is revoked; nodes that serve know it within {config.backend.key_refresh_seconds:g} s")

    run_on_store(path, end)


def _keyring(secret: bytes, store: Store) -> Keyring:
    return Keyring(store, KeyHash(secret), time.time)


def _line(record: ApiKeyRecord) -> str:
    invalid = why_invalid(record, int(time.time() * 1000))
    state = "valid" if invalid is None else invalid[0].name.lower()
    return (
        f"{record.key_id}  {state:<13}  {record.title}  actions {','.join(record.actions)}  "
        f"namespaces {','.join(record.namespaces)}  expires {shown_time(record.expires_at)}  "
        f"used {shown_time(record.last_used_at)}"
    )
