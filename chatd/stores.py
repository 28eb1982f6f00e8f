"""Opens the store that the configuration names."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chatd.config import Config
from chatd.master_keys import open_ring
from storage.archive import Bodies
from storage.jobs import JobQueue
from storage.moving import Source, Target
from storage.sealed import SealedStore, opened_source, seal
from storage.sealing import DataKeys
from storage.sqlite import SqliteSettings, open_sqlite
from storage.sqlite_beside import Beside
from storage.sqlite_beside import open_beside as open_sqlite_beside
from storage.sqlite_keys import open_data_keys as open_sqlite_data_keys
from storage.sqlite_moving import open_source as open_sqlite_source
from storage.transfer import check_not_being_filled


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and the queue of jobs that it has."""

    store: SealedStore
    jobs: JobQueue


@asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[OpenedStore]:
    """Open the store to serve from it; a SQLite file is then this process's alone.

    Raises:
        StoreError: It cannot be opened, it is half filled, or a key that it needs is missing.
        ConfigError: A master key that the configuration names cannot be had.
    """
    ring = open_ring(config.store.encryption, os.environ)
    async with open_sqlite(_path(config), _sqlite(config)) as opened:
        await check_not_being_filled(opened)
        yield OpenedStore(await seal(opened, ring, _now), opened.jobs)


@asynccontextmanager
async def open_target(config: Config) -> AsyncIterator[Target]:
    """Open the store to fill it, alone. What is loaded plain is sealed if the configuration has an active key.

    Raises:
        StoreError: It cannot be opened, or bodies are to be sealed and a key is missing.
        ConfigError: A master key that the configuration names cannot be had.
    """
    async with open_sqlite(_path(config), _sqlite(config)) as opened:
        if config.store.encryption.active:
            yield await seal(opened, open_ring(config.store.encryption, os.environ), _now)
        else:
            yield opened


@asynccontextmanager
async def open_source(config: Config, bodies: Bodies = "kept") -> AsyncIterator[Source]:
    """Open the store to read everything in it, also while nodes serve from it.

    Raises:
        StoreError: It cannot be opened, has not this program's schema, or a key that it needs is missing.
        ConfigError: A master key that the configuration names cannot be had.
    """
    async with open_sqlite_source(_path(config)) as source:
        if bodies == "kept":
            yield source
        else:
            ring = open_ring(config.store.encryption, os.environ)
            yield await opened_source(source, ring)


@asynccontextmanager
async def open_data_keys(config: Config) -> AsyncIterator[DataKeys]:
    """Open the data keys of the store, also while nodes serve from it.

    Raises:
        StoreError: The store cannot be opened, or has not this program's schema.
    """
    async with open_sqlite_data_keys(_path(config)) as opened:
        yield opened


@asynccontextmanager
async def open_beside(config: Config) -> AsyncIterator[Beside]:
    """Open the queue of jobs, also while nodes serve from it.

    Raises:
        StoreError: The store cannot be opened, or has not this program's schema.
    """
    async with open_sqlite_beside(_path(config), waiting=config.jobs.waiting, kept_dead=config.jobs.dead) as opened:
        yield opened


def _now() -> int:
    return int(time.time() * 1000)


def describe(config: Config) -> str:
    """Name the store, to tell it from others."""
    return f"the database {_path(config).absolute()}"


def _sqlite(config: Config) -> SqliteSettings:
    store, jobs = config.store, config.jobs
    return SqliteSettings(
        queue_rows=store.queue_rows,
        batch_rows=store.batch_rows,
        read_threads=store.read_threads,
        cache_kib=store.cache_kib,
        jobs_waiting=jobs.waiting,
        jobs_dead=jobs.dead,
    )


def _path(config: Config) -> Path:
    return Path(config.server.var) / config.store.path
