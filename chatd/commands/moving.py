"""`chatd db export|import|copy|checksum`: everything in a store, taken to a file or to another store."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config
from chatd.stores import describe, open_source, open_target
from storage import StoreError
from storage.archive import Bodies, End, FrameReader
from storage.archive_writer import ArchiveWriter, archive_file
from storage.checksum import Checksum, Tally
from storage.moving import Table
from storage.transfer import Progress as OnProgress
from storage.transfer import check_archive, checksum_of, copy, export, load

_STREAM = Path("-")

_continues_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--continues",
    is_flag=True,
    help="Nothing was or will be written to the old store since: channels keep their epochs, readers their cursors.",
)


def _now() -> int:
    return int(time.time() * 1000)


@click.command("export")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--bodies",
    type=click.Choice(get_args(Bodies)),
    default="kept",
    help="Sealed message bodies: as they are kept (the default), or plain, which needs their keys.",
)
@config_option
def export_command(target: Path, bodies: Bodies, path: Path | None) -> None:
    """Write everything in the store to the new file TARGET (-: to standard output).

    Nodes may serve meanwhile. If it is interrupted, the same command goes on where it was. The file has password hashes
    and private messages.
    """
    config = config_or_exit(path)
    if target == _STREAM:
        _run(_export_stream, config, bodies)
        return
    end = _run(_export_file, config, target, bodies)
    _report(end.tallies, end.checksum)


async def _export_file(config: Config, target: Path, bodies: Bodies) -> End:
    async with open_source(config, bodies) as source:
        with archive_file(target, uuid4().hex, bodies) as writer, _bars("reading") as progress:
            return await export(source, writer, _now, progress())


async def _export_stream(config: Config, bodies: Bodies) -> End:
    async with open_source(config, bodies) as source:
        writer = ArchiveWriter(sys.stdout.buffer, uuid4().hex, bodies)
        writer.start()
        with _bars("reading") as progress:
            end = await export(source, writer, _now, progress())
    click.echo(f"sha256 {end.checksum}", err=True)
    return end


@click.command("import")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Only see whether the archive is whole; touch no store.")
@_continues_option
@config_option
def import_command(archive: Path, check: bool, continues: bool, path: Path | None) -> None:
    """Fill an empty store with what `chatd db export` wrote to ARCHIVE (-: from standard input).

    A file is checked before anything of it is loaded. If it is interrupted, the same command goes on where it was; no
    node serves from a store that is half filled.
    """
    config = config_or_exit(path)
    end = _run(_check, archive) if check else _run(_import, config, archive, continues)
    _report(end.tallies, end.checksum)


async def _check(archive: Path) -> End:
    with _bars("checking") as progress, _opened(archive) as reader:
        return check_archive(reader, progress())


async def _import(config: Config, archive: Path, continues: bool) -> End:
    tallies: dict[Table, Tally] = {}
    if archive != _STREAM:
        tallies = (await _check(archive)).tallies
    with _bars("loading") as progress, _opened(archive) as reader:
        _make_folder(config)
        async with open_target(config) as target:
            return await load(reader, target, progress(tallies), continues=continues)


@click.command("copy")
@click.option(
    "--to",
    "other",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration whose store is to be filled.",
)
@_continues_option
@config_option
def copy_command(other: Path, continues: bool, path: Path | None) -> None:
    """Fill another empty store from this one, without a file between them.

    Nodes may serve from this one meanwhile. If it is interrupted, the same command goes on where it was; no node serves
    from a store that is half filled.
    """
    checksum = _run(_copy, config_or_exit(path), config_or_exit(other), continues)
    _report(checksum.tallies, checksum.hexdigest())


async def _copy(config: Config, other: Config, continues: bool) -> Checksum:
    async with open_source(config) as source:
        _make_folder(other)
        async with open_target(other) as target:
            with _bars("copying") as progress:
                return await copy(source, target, describe(config), _now, progress(), continues=continues)


@click.command("checksum")
@config_option
def checksum_command(path: Path | None) -> None:
    """Read everything in the store and print how much it is, and its checksum.

    Two stores with the same checksum have the same contents, whatever kind of store they are. It is the checksum that
    an export prints, if nothing was written between the two.
    """
    checksum = _run(_checksum, config_or_exit(path))
    _report(checksum.tallies, checksum.hexdigest())


async def _checksum(config: Config) -> Checksum:
    with _bars("reading") as progress:
        async with open_source(config) as source:
            return await checksum_of(source, progress())


def _run(action: Callable[..., Any], *arguments: Any) -> Any:
    """Run an action; what goes wrong is one line and exit code 1, or 2 where it is the configuration."""
    try:
        with exit_on(StoreError, OSError):
            return trio.run(partial(action, *arguments))
    except KeyboardInterrupt:
        click.echo("chatd: interrupted: the same command goes on from here", err=True)
        sys.exit(1)


def _make_folder(config: Config) -> None:
    Path(config.server.var).mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _opened(archive: Path) -> Iterator[FrameReader]:
    if archive == _STREAM:
        yield FrameReader(sys.stdin.buffer, "standard input")
        return
    with archive.open("rb") as file:
        yield FrameReader(file, str(archive))


def _report(tallies: dict[Table, Tally], checksum: str) -> None:
    for table in Table:
        if table in tallies:
            click.echo(f"{table + ':':<14}{tallies[table].records:>14,}")
    click.echo(f"sha256 {checksum}")


@contextmanager
def _bars(verb: str) -> Iterator[Callable[..., OnProgress]]:
    """Show on the terminal's standard error how much of each table is done; nothing where that is a file.

    Gives a function that takes how many records there are, as far as that is known, and returns what to tell.
    """
    columns = (
        SpinnerColumn(),
        TextColumn(verb + " {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def begin(tallies: dict[Table, Tally] | None = None) -> OnProgress:
            tasks: dict[Table, Any] = {}

            def on_progress(table: Table, count: int) -> None:
                if table not in tasks:
                    total = tallies[table].records if tallies and table in tallies else None
                    tasks[table] = bars.add_task(table, total=total)
                bars.advance(tasks[table], count)

            return on_progress

        yield begin
