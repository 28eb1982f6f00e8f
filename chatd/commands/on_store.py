"""What commands about keys and accounts have in common: they work on the store, beside nodes that serve from it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import trio

from chatd.accounts.errors import AccountError
from chatd.backend.actions import EVERYTHING
from chatd.backend.caller import BACKEND, Caller
from chatd.commands.failing import exit_on
from chatd.commands.options import config_or_exit
from chatd.config import Config
from chatd.rights import Denied
from chatd.secret import load_or_create
from chatd.stores import open_accounts
from storage import Store, StoreError

OPERATOR = Caller(actor="operator", sender=BACKEND, actions=EVERYTHING, namespaces=None)
"""Who has the configuration, the secret and the store may do everything."""


def run_on_store(path: Path | None, command: Callable[[Config, bytes, Store], Awaitable[None]]) -> None:
    """Run a command with the configuration, the secret and the store; exit 2 or 1 with one line if it fails."""
    config = config_or_exit(path)
    with exit_on(StoreError, Denied, AccountError):
        trio.run(_run, config, command)


async def _run(config: Config, command: Callable[[Config, bytes, Store], Awaitable[None]]) -> None:
    secret = load_or_create(Path(config.server.var) / "secret")
    async with open_accounts(config) as store:
        await command(config, secret, store)


def shown_time(milliseconds: int | None) -> str:
    """Write a time for people; a dash for none."""
    if milliseconds is None:
        return "–"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
