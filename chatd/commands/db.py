"""`chatd db`: look after the database."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from chatd.commands.keys import keys
from chatd.commands.moving import checksum_command, copy_command, export_command, import_command
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config
from storage import StoreError, sqlite_inspection
from storage.file_lock import FileLock
from storage.migrations import Migration, applied, migrate, pending, shipped
from storage.sqlite_backup import backup
from storage.sqlite_connection import connect_reader, connect_writer, create_file

_SHOWN_HOLES = 20


@click.group()
def db() -> None:
    """Look after the database: SQLite's file, or the keyspace in Cassandra, whichever the configuration names.

    The file is `store.path` in the folder `server.var`. While chatd serves from it all but `migrate` and `import` may
    be used; while nodes serve from Cassandra, all but `import`. `check` and `backup` are for a file; Cassandra has its
    own.
    """


def _database(config: Config) -> Path:
    return Path(config.server.var) / config.store.path


def _file(config: Config) -> Path:
    """Return the database file, for what is done with files only."""
    if _is_cluster(config):
        raise StoreError("store.kind is cassandra: use `nodetool`, or `chatd db export` and `chatd db checksum`")
    return _database(config)


@contextmanager
def _failures_in_one_line() -> Iterator[None]:
    try:
        yield
    except (StoreError, sqlite3.Error, OSError) as error:
        click.echo(f"chatd: {error}", err=True)
        sys.exit(1)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise StoreError(f"{path} does not exist: `chatd serve` or `chatd db migrate` makes it")
    with closing(connect_reader(path)) as connection:
        yield connection


@db.command("migrate")
@config_option
def migrate_command(path: Path | None) -> None:
    """Bring the database to the schema of this chatd, or make a new one.

    `chatd serve` does the same when it starts. Make a backup before you change to a newer chatd: there is no way back.
    """
    config = config_or_exit(path)
    with _failures_in_one_line():
        made = _migrate_cluster(config) if _is_cluster(config) else _migrate(_database(config))
    for migration in made:
        click.echo(f"applied {migration.number:04}_{migration.name}")
    if not made:
        click.echo("the database has this chatd's schema already")


def _is_cluster(config: Config) -> bool:
    return config.store.kind == "cassandra"


def _migrate_cluster(config: Config) -> list[Migration]:
    # Only here: the driver is an extra.
    from chatd.commands.cluster_db import migrate_cluster

    return migrate_cluster(config)


def _show_cluster(config: Config) -> None:
    from chatd.commands.cluster_db import cluster_status

    with _failures_in_one_line():
        _show(cluster_status(config))


def _show(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        click.echo(f"{name + ':':<18}{value}")


def _migrate(database: Path) -> list[Migration]:
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(database):
        create_file(database)
        with closing(connect_writer(database)) as connection:
            return migrate(connection, shipped(), lambda: int(time.time() * 1000))


@db.command()
@config_option
def status(path: Path | None) -> None:
    """Show where the database is, its schema version and, of a file, how much is in it."""
    config = config_or_exit(path)
    if _is_cluster(config):
        _show_cluster(config)
        return
    database = _database(config)
    with _failures_in_one_line(), _reading(database) as connection:
        waiting = pending(connection, shipped())
        rows = {
            "file": str(database.absolute()),
            "size": f"{_bytes(database):,} bytes",
            "write-ahead log": f"{_bytes(database.with_name(database.name + '-wal')):,} bytes",
            "schema version": str(len(applied(connection))),
            "pending": ", ".join(f"{migration.number:04}_{migration.name}" for migration in waiting) or "nothing",
        }
        if not waiting:
            contents = sqlite_inspection.contents(connection)
            rows |= {
                "messages": f"{contents.messages:,}",
                "channels": f"{contents.channels:,}",
                "users": f"{contents.users:,}",
                "devices": f"{contents.devices:,}",
            }
    _show(rows)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@db.command()
@config_option
def check(path: Path | None) -> None:
    """Check that the file is whole and that no durable channel misses a message.

    Reads everything, which takes a while on a large file. Exit code 0 if all is good, else 1 and a line for each fault.
    """
    config = config_or_exit(path)
    with _failures_in_one_line(), _reading(_file(config)) as connection:
        if pending(connection, shipped()):
            raise StoreError("the database has an older schema: run `chatd db migrate` first")
        found = sqlite_inspection.faults(connection)
        for name, namespace in config.namespaces.items():
            if namespace.history == "durable":
                holes = sqlite_inspection.holes(connection, name)
                found += [str(hole) for hole in islice(holes, _SHOWN_HOLES)]
    for line in found:
        click.echo(line, err=True)
    if found:
        sys.exit(1)
    click.echo("the database is whole")


@db.command("backup")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@config_option
def backup_command(target: Path, path: Path | None) -> None:
    """Copy the database to the new file TARGET while chatd serves.

    TARGET is the state of one moment, and appears only when it is whole. docs/howto/backup.md says how to restore it.
    """
    config = config_or_exit(path)
    with _failures_in_one_line(), _reading(_file(config)) as connection, _progress() as progress:
        backup(connection, target, progress)
    click.echo(f"{target}: {_bytes(target):,} bytes")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the terminal's standard error; nothing where that is a file."""
    columns = (TextColumn("copying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda copied, total: bar.update(task, completed=copied, total=total)


for _command in (keys, export_command, import_command, copy_command, checksum_command):
    db.add_command(_command)
