"""`chatd webhooks`: look after endpoints and what could not be delivered."""

import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import trio

from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config
from chatd.stores import open_beside
from chatd.webhooks.operations import DeadLetter, UnknownEndpoint, WebhookOperations
from chatd.webhooks.service import Webhooks
from storage import StoreError

_PAGE = 100


@click.group()
def webhooks() -> None:
    """Look after endpoints and dead letters. All of it may be used while chatd serves."""


@webhooks.command("list")
@config_option
def list_command(path: Path | None) -> None:
    """Show every endpoint: how many requests wait for it, and how many were given up."""

    async def show(operations: WebhookOperations) -> None:
        for endpoint in await operations.endpoints():
            gone = "  GONE, nothing is sent to it" if endpoint.gone else ""
            click.echo(f"{endpoint.name}  {endpoint.url}  waiting {endpoint.waiting}  dead {endpoint.dead}{gone}")

    _run(path, show)


@webhooks.command()
@click.argument("name")
@click.option("--body", is_flag=True, help="Show what was sent, too.")
@config_option
def dead(name: str, body: bool, path: Path | None) -> None:
    """Show the dead letters of the endpoint NAME, the oldest first: requests that were given up."""

    async def show(operations: WebhookOperations) -> None:
        after: str | None = None
        while page := await operations.dead_letters(name, after=after, limit=_PAGE):
            for letter in page:
                click.echo(_line(letter))
                if body:
                    click.echo(bytes(letter.body))
            after = page[-1].letter

    _run(path, show)


@webhooks.command()
@click.argument("name")
@click.argument("letters", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All dead letters of the endpoint.")
@config_option
def replay(name: str, letters: tuple[str, ...], everything: bool, path: Path | None) -> None:
    """Send dead LETTERS of the endpoint NAME again, in front of what waits in their lanes."""
    if bool(letters) == everything:
        raise click.UsageError("name letters, or say --all")

    async def send(operations: WebhookOperations) -> None:
        count = await operations.replay(name, None if everything else letters)
        click.echo(f"{count} will be sent again")
        if count < len(letters):
            raise click.ClickException(
                f"{len(letters) - count} of these letters are not there: see `chatd webhooks dead`"
            )

    _run(path, send)


@webhooks.command()
@click.argument("name")
@config_option
def test(name: str, path: Path | None) -> None:
    """Send an event of type webhook.test to the endpoint NAME now; exit code 1 if it is not taken."""

    async def send(operations: WebhookOperations) -> None:
        result = await operations.test(name)
        if result.status is None:
            click.echo(f"no answer: {result.error}")
        else:
            click.echo(f"status {result.status} after {result.milliseconds} ms")
        if result.status is None or not 200 <= result.status < 300:
            sys.exit(1)

    _run(path, send)


@webhooks.command()
@click.argument("name")
@config_option
def enable(name: str, path: Path | None) -> None:
    """Send to the endpoint NAME again, which had answered that it is gone (410)."""

    async def send(operations: WebhookOperations) -> None:
        await operations.enable(name)
        click.echo(f"{name} is enabled; a node that serves finds out within half a minute")

    _run(path, send)


def _run(path: Path | None, command: Callable[[WebhookOperations], Awaitable[None]]) -> None:
    config = config_or_exit(path)
    with exit_on(StoreError, UnknownEndpoint):
        trio.run(_run_with_store, config, command)


async def _run_with_store(config: Config, command: Callable[[WebhookOperations], Awaitable[None]]) -> None:
    async with open_beside(config) as beside:
        made = Webhooks(config, beside.jobs, beside, os.environ)
        try:
            await command(made.operations)
        finally:
            await made.aclose()


def _line(letter: DeadLetter) -> str:
    put = datetime.fromtimestamp(letter.at / 1000, UTC).isoformat(" ", "seconds")
    return f"{letter.letter}  {put}  {letter.request}  {letter.error}"
