"""Opens the store that the configuration names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chatd.config import Config
from storage.jobs import JobQueue
from storage.moving import Source, Target
from storage.sqlite import SqliteSettings, open_sqlite
from storage.sqlite_moving import open_source as open_sqlite_source


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and the queue of jobs that it has, if it has one."""

    store: Target
    jobs: JobQueue


@asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[OpenedStore]:
    """Open the store to serve from it or to fill it; a SQLite file is then this process's alone.

    Raises:
        StoreError: It cannot be opened.
    """
    store, jobs = config.store, config.jobs
    settings = SqliteSettings(
        queue_rows=store.queue_rows,
        batch_rows=store.batch_rows,
        read_threads=store.read_threads,
        cache_kib=store.cache_kib,
        jobs_waiting=jobs.waiting,
        jobs_dead=jobs.dead,
    )
    async with open_sqlite(_path(config), settings) as opened:
        yield OpenedStore(opened, opened.jobs)


@asynccontextmanager
async def open_source(config: Config) -> AsyncIterator[Source]:
    """Open the store to read everything in it, also while nodes serve from it.

    Raises:
        StoreError: It cannot be opened, or has not this program's schema.
    """
    async with open_sqlite_source(_path(config)) as source:
        yield source


def describe(config: Config) -> str:
    """Name the store, to tell it from others."""
    return f"the database {_path(config).absolute()}"


def _path(config: Config) -> Path:
    return Path(config.server.var) / config.store.path
