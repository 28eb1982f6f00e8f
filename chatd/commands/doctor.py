"""`chatd doctor`: is this deployment as it should be?"""

import sys
from pathlib import Path

import click
import trio

from chatd import logs
from chatd.commands.options import DEFAULT_FILE, config_option, config_or_exit
from chatd.config import Config
from chatd.doctor import Finding, Verdict, ok
from chatd.doctor.checks import examine

_COLORS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "red"}


@click.command()
@config_option
def doctor(path: Path | None) -> None:
    """Check what chatd needs: the port, the kernel, the disk, the services that the configuration names.

    A line for each thing: ok, warning or failure, and what to do about it. It changes nothing, and may be run while
    chatd serves. Exit code 0, or 1 if there is a failure.
    """
    config = config_or_exit(path)
    logs.configure(config.log)
    _show(ok("configuration", f"{path or DEFAULT_FILE} is good" if path or DEFAULT_FILE.exists() else "the defaults"))
    if trio.run(_examine, config):
        sys.exit(1)


async def _examine(config: Config) -> int:
    """Print each finding as soon as there is one; return how many are failures."""
    failures = 0
    async for finding in examine(config):
        _show(finding)
        failures += finding.verdict is Verdict.FAILURE
    return failures


def _show(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict:<8}", fg=_COLORS[finding.verdict])
    advice = f" — {finding.advice}" if finding.advice else ""
    click.echo(f"{verdict} {finding.subject}: {finding.seen}{advice}")
