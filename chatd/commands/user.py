"""`chatd user`: accounts, for who runs the deployment."""

import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from chatd.accounts.accounts import Accounts
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import Tokens
from chatd.backend.actions import ROLES
from chatd.backend.audit import Audit
from chatd.commands.on_store import OPERATOR, run_on_store, shown_time
from chatd.commands.options import config_option
from chatd.config import Config
from storage import Store


@click.group()
def user() -> None:
    """Create, show, suspend and give roles to accounts. All of it may be used while chatd serves."""


@user.command()
@click.argument("name")
@click.option("--password", is_flag=True, help="Ask for a password; without one nobody can log in to the account.")
@config_option
def create(name: str, password: bool, path: Path | None) -> None:
    """Make the account NAME."""
    text = click.prompt("Password", hide_input=True, confirmation_prompt=True) if password else None

    async def make(accounts: Accounts, store: Store) -> None:
        record = await accounts.create(name, text)
        await Audit(store, time.time).note(OPERATOR, "user.create", record.user)
        click.echo(f"{record.user} is created")

    _with_accounts(path, make)


@user.command()
@click.argument("name")
@config_option
def show(name: str, path: Path | None) -> None:
    """Show the account NAME."""

    async def tell(accounts: Accounts, store: Store) -> None:
        record = await accounts.user(name)
        state = "suspended" if record.is_suspended else "active"
        roles = ",".join(record.roles) or "–"
        devices = len(await store.devices(record.user))
        made = shown_time(record.created_at)
        click.echo(f"{record.user}  {state}  roles {roles}  devices {devices}  created {made}")

    _with_accounts(path, tell)


@user.command()
@click.argument("name")
@click.argument("roles", nargs=-1, type=click.Choice(list(ROLES)))
@config_option
def role(name: str, roles: tuple[str, ...], path: Path | None) -> None:
    """Give the account NAME these ROLES and no others; none takes all away. The first admin is made so."""

    async def give(accounts: Accounts, store: Store) -> None:
        record = await accounts.user(name)
        wanted = tuple(sorted(set(roles)))
        await store.put_user(msgspec.structs.replace(record, roles=wanted))
        await Audit(store, time.time).note(OPERATOR, "user.roles", record.user, roles=",".join(wanted))
        click.echo(f"{record.user} has {', '.join(wanted) or 'no role'}")

    _with_accounts(path, give)


@user.command()
@click.argument("name")
@config_option
def suspend(name: str, path: Path | None) -> None:
    """Let the account NAME in no more: its devices are revoked, and its sessions close within seconds."""

    async def end(accounts: Accounts, store: Store) -> None:
        record = await accounts.suspend(name)
        await Audit(store, time.time).note(OPERATOR, "user.suspend", record.user)
        click.echo(f"{record.user} is suspended")

    _with_accounts(path, end)


@user.command()
@click.argument("name")
@config_option
def unsuspend(name: str, path: Path | None) -> None:
    """Let the account NAME in again; its owner logs in anew."""

    async def let_in(accounts: Accounts, store: Store) -> None:
        record = await accounts.unsuspend(name)
        await Audit(store, time.time).note(OPERATOR, "user.unsuspend", record.user)
        click.echo(f"{record.user} may log in again")

    _with_accounts(path, let_in)


def _with_accounts(path: Path | None, command: Callable[[Accounts, Store], Coroutine[Any, Any, None]]) -> None:
    async def run(config: Config, secret: bytes, store: Store) -> None:
        tokens = Tokens(secret, config.auth, time.time)
        await command(Accounts(store, tokens, RefreshTokens(secret), config.auth, time.time), store)

    run_on_store(path, run)
