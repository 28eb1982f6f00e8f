"""Opens the store that the configuration names."""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chatd.cassandra import NamespaceRules, cassandra_settings
from chatd.config import Config, ConfigError
from chatd.master_keys import open_ring
from storage import Store
from storage.archive import Bodies
from storage.jobs import JobQueue
from storage.moving import Origin, Target
from storage.sealed import SealedStore, opened_source, seal
from storage.sealing import DataKeys
from storage.sqlite import SqliteSettings, open_sqlite
from storage.sqlite_beside import Beside
from storage.sqlite_beside import open_beside as open_sqlite_beside
from storage.sqlite_keys import open_data_keys as open_sqlite_data_keys
from storage.sqlite_moving import open_source as open_sqlite_source
from storage.transfer import check_not_being_filled


def _ignore(_: Config) -> None:
    """Need nothing of a new configuration."""


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and the queue of jobs of this process; None where jobs are in Redis, which all nodes share."""

    store: SealedStore
    jobs: JobQueue | None
    replace: Callable[[Config], None] = _ignore
    """Takes another configuration that is in force."""


@dataclass(frozen=True, slots=True)
class BesideCluster:
    """The jobs of this node or of all, and the small values of the store."""

    jobs: JobQueue
    _values: Target | Beside

    async def get_meta(self, name: str) -> str | None:
        """Return a small named value."""
        return await self._values.get_meta(name)

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or (None) remove a small named value."""
        await self._values.put_meta(name, value)


@asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[OpenedStore]:
    """Open the store to serve from it; a SQLite file is then this process's alone.

    Waits for a Cassandra cluster that does not answer. Beside it, jobs are in a SQLite file of this node, unless there
    are others: then they are in Redis.

    Raises:
        StoreError: It cannot be opened, it is half filled, or a key that it needs is missing.
        ConfigError: A master key that the configuration names cannot be had, or the packages for Cassandra are missing.
    """
    ring = open_ring(config.store.encryption, os.environ)
    if config.store.kind == "cassandra":
        rules = NamespaceRules(config)
        async with AsyncExitStack() as stack:
            jobs: JobQueue | None = None
            if config.broker.kind != "redis":
                jobs = (await stack.enter_async_context(open_sqlite(_jobs_path(config), _sqlite(config)))).jobs
            cluster = await stack.enter_async_context(_open_cluster(config, rules, waits=True, migrates=True))
            await check_not_being_filled(cluster)
            yield OpenedStore(await seal(cluster, ring, _now), jobs, rules.replace)
        return
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
    async with _open_plain(config, migrates=True) as opened:
        if config.store.encryption.active:
            yield await seal(opened, open_ring(config.store.encryption, os.environ), _now)
        else:
            yield opened


@asynccontextmanager
async def open_source(config: Config, bodies: Bodies = "kept") -> AsyncIterator[Origin]:
    """Open the store to read everything in it, also while nodes serve from it.

    Raises:
        StoreError: It cannot be opened, has not this program's schema, or a key that it needs is missing.
        ConfigError: A master key that the configuration names cannot be had.
    """
    async with _open_plain_source(config) as source:
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
    if config.store.kind == "cassandra":
        async with _open_cluster(config, migrates=False) as cluster:
            yield cluster
        return
    async with open_sqlite_data_keys(_path(config)) as opened:
        yield opened


@asynccontextmanager
async def open_beside(config: Config) -> AsyncIterator[Beside | BesideCluster]:
    """Open the queue of jobs, also while nodes serve from it.

    Raises:
        StoreError: The store or Redis cannot be reached, or the store has not this program's schema.
        ConfigError: The packages for Redis are missing.
    """
    is_cluster = config.store.kind == "cassandra"
    async with AsyncExitStack() as stack:
        values: Target | Beside
        if is_cluster:
            values = await stack.enter_async_context(_open_cluster(config, migrates=False))
        else:
            values = await stack.enter_async_context(_open_sqlite_beside(config, _path(config)))
        if config.broker.kind == "redis":
            yield BesideCluster(await stack.enter_async_context(_open_redis_jobs(config)), values)
        elif isinstance(values, Beside):
            yield values
        else:
            own = await stack.enter_async_context(_open_sqlite_beside(config, _jobs_path(config)))
            yield BesideCluster(own.jobs, values)


@asynccontextmanager
async def open_accounts(config: Config) -> AsyncIterator[Store]:
    """Open the store for accounts, API keys and the audit, also while nodes serve from it.

    Raises:
        StoreError: It cannot be reached, or has not this program's schema.
        ConfigError: The packages for Cassandra are missing.
    """
    if config.store.kind == "cassandra":
        async with _open_cluster(config, migrates=False) as cluster:
            yield cluster
    else:
        async with _open_sqlite_beside(config, _path(config)) as beside:
            yield beside.store


@asynccontextmanager
async def _open_sqlite_beside(config: Config, path: Path) -> AsyncIterator[Beside]:
    async with open_sqlite_beside(path, waiting=config.jobs.waiting, kept_dead=config.jobs.dead) as opened:
        yield opened


@asynccontextmanager
async def _open_redis_jobs(config: Config) -> AsyncIterator[JobQueue]:
    try:
        from chatd.redis.jobs import open_redis_jobs
    except ModuleNotFoundError as error:
        raise ConfigError(f"broker.kind: {error.name} is missing: pip install 'chatd[redis]'") from error
    async with open_redis_jobs(config) as jobs:
        yield jobs


@asynccontextmanager
async def _open_cluster(
    config: Config, rules: NamespaceRules | None = None, *, waits: bool = False, migrates: bool
) -> AsyncIterator[Target]:
    """Open the Cassandra store; somebody at a terminal does not wait for a cluster that is down."""
    try:
        from storage.cassandra import open_cassandra
    except ModuleNotFoundError as error:
        raise ConfigError(f"store.kind: {error.name} is missing: pip install 'chatd[cassandra]'") from error
    settings = cassandra_settings(config, rules or NamespaceRules(config))
    async with open_cassandra(settings, waits=waits, migrates=migrates) as cluster:
        yield cluster


@asynccontextmanager
async def _open_plain(config: Config, *, migrates: bool) -> AsyncIterator[Target]:
    if config.store.kind == "cassandra":
        async with _open_cluster(config, migrates=migrates) as cluster:
            yield cluster
    else:
        async with open_sqlite(_path(config), _sqlite(config)) as opened:
            yield opened


@asynccontextmanager
async def _open_plain_source(config: Config) -> AsyncIterator[Origin]:
    if config.store.kind == "cassandra":
        async with _open_cluster(config, migrates=False) as cluster:
            yield cluster
    else:
        async with open_sqlite_source(_path(config)) as source:
            yield source


def _now() -> int:
    return int(time.time() * 1000)


def describe(config: Config) -> str:
    """Name the store, to tell it from others."""
    if config.store.kind == "cassandra":
        return f"the keyspace {config.cassandra.keyspace} at {', '.join(config.cassandra.nodes)}"
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


def _jobs_path(config: Config) -> Path:
    return Path(config.server.var) / config.jobs.path


def _path(config: Config) -> Path:
    return Path(config.server.var) / config.store.path
