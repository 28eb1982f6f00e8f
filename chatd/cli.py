"""The command line of chatd. Each command's module is loaded when it is used, so that help is quick."""

from importlib import import_module
from typing import Any

import click

from chatd import __version__

# Name → where it is, and what `chatd --help` says of it.
_COMMANDS = {
    "serve": ("chatd.commands.serve", "Run a node."),
    "token": ("chatd.commands.token", "Make an access token, for developing."),
    "key": ("chatd.commands.key", "Make, list, rotate and revoke API keys."),
    "user": ("chatd.commands.user", "Create, suspend and give roles to accounts."),
    "config": ("chatd.commands.config", "Check and show the configuration."),
    "db": ("chatd.commands.db", "Look after the database: migrate, check, back up, export, import, keys."),
    "doctor": ("chatd.commands.doctor", "Check what chatd needs, and say what to do about it."),
    "cluster": ("chatd.commands.cluster", "Look at the nodes that share a Redis."),
    "webhooks": ("chatd.commands.webhooks", "Look after webhooks: endpoints, dead letters, replay, test."),
    "push": ("chatd.commands.push", "Hand pushes over in a process of its own; try them out."),
    "bench": ("bench.cli", "Measure a server under load."),
}


# Package → the extra that brings it.
_EXTRAS = {"coredis": "redis", "hiredis": "redis", "redis": "redis", "cassandra": "cassandra"}


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, or say in one line what to install for it, or that it was ended with Ctrl-C."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").split(".")[0])
            if extra is None:
                raise
            raise click.ClickException(f"{error.name} is missing: pip install 'chatd[{extra}]'") from error
        except BaseExceptionGroup as group:
            if group.split(KeyboardInterrupt)[1] is not None:
                raise
            raise KeyboardInterrupt from None  # Ctrl-C, wrapped by the nurseries it passed

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="chatd")
def main() -> None:
    """chatd is a real-time messaging and presence server.

    Start with `chatd serve`; every command has --help.
    """
