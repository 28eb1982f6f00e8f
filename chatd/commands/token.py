"""`chatd token`: an access token without a login."""

import sys
import time
from pathlib import Path

import click

from chatd.accounts.names import GUEST_PREFIX
from chatd.accounts.tokens import Tokens
from chatd.commands.options import config_option, config_or_exit
from chatd.config import ConfigError
from chatd.secret import load_or_create
from protocol.names import DeviceId, UserId, is_user_id

# Ten years: longer than any secret should live.
_MOST_SECONDS = 10 * 365 * 86_400


@click.command()
@click.argument("user")
@click.option("--guest", is_flag=True, help=f"Make it a guest's; {GUEST_PREFIX} is put before the name if missing.")
@click.option(
    "--seconds", type=click.IntRange(1, _MOST_SECONDS), help="How long it is valid: auth.access_seconds if not given."
)
@click.option("--device", default="developer", show_default=True, help="The id of the device that it is for.")
@config_option
def token(user: str, guest: bool, seconds: int | None, device: str, path: Path | None) -> None:
    """Print an access token for USER, signed with this node's secret.

    For developing: no account of this name needs to exist, and the secret is made if there is none yet.
    """
    config = config_or_exit(path)
    if guest and not user.startswith(GUEST_PREFIX):
        user = GUEST_PREFIX + user
    for name, text in (("USER", user), ("--device", device)):
        if not is_user_id(text):
            raise click.UsageError(f"{name}: has 1 to 64 of the characters A-Z a-z 0-9 _ . @ | ~ + = -")
    try:
        secret = load_or_create(Path(config.server.var) / "secret")
    except ConfigError as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(2)
    tokens = Tokens(secret, config.auth, time.time)
    lifetime = seconds or (config.auth.guest_seconds if guest else config.auth.access_seconds)
    click.echo(tokens.issue(UserId(user), DeviceId(device), is_guest=guest, seconds=lifetime))
