"""Runs the contract of the queue of jobs on every adapter."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from chatd.redis.jobs import RedisJobs
from storage.jobs import JobQueue
from storage.sqlite import SqliteSettings, open_sqlite
from tests.contracts import jobs as contract
from tests.fakes.memory_jobs import MemoryJobs
from tests.rig.cluster import running_servers
from tests.rig.redis import RedisServer


@asynccontextmanager
async def open_sqlite_jobs(path: Path, waiting: int, dead: int) -> AsyncIterator[JobQueue]:
    """Open the queue of a SQLite file."""
    async with open_sqlite(path, SqliteSettings(jobs_waiting=waiting, jobs_dead=dead)) as store:
        yield store.jobs


@asynccontextmanager
async def open_fake(jobs: MemoryJobs) -> AsyncIterator[JobQueue]:
    """Open the fake that other tests use."""
    yield jobs


@asynccontextmanager
async def open_redis_jobs(server: RedisServer, waiting: int, dead: int) -> AsyncIterator[JobQueue]:
    """Open the queue of a Redis server."""
    async with running_servers(server) as servers:
        yield RedisJobs(servers, waiting=waiting, kept_dead=dead)


@pytest.fixture(params=["sqlite", "memory", pytest.param("redis", marks=pytest.mark.system)])
def open_jobs(request: pytest.FixtureRequest, tmp_path: Path) -> contract.OpenJobs:
    """Opens the same queue each time it is called."""

    fake = MemoryJobs()

    def open_one(waiting: int = 10_000, dead: int = 10_000) -> AbstractAsyncContextManager[JobQueue]:
        match request.param:
            case "sqlite":
                return open_sqlite_jobs(tmp_path / "chatd.sqlite3", waiting, dead)
            case "memory":
                fake.waiting, fake.kept_dead = waiting, dead
                return open_fake(fake)
            case "redis":
                return open_redis_jobs(request.getfixturevalue("redis_server"), waiting, dead)
            case unknown:
                raise ValueError(unknown)

    return open_one


@pytest.fixture
async def jobs(open_jobs: contract.OpenJobs) -> AsyncIterator[JobQueue]:
    """An open queue without jobs."""
    async with open_jobs() as opened:
        yield opened


class TestLife(contract.LifeContract):
    pass


class TestKeys(contract.KeyContract):
    pass


class TestFailures(contract.FailureContract):
    pass


class TestLanes(contract.LaneContract):
    pass


class TestBounds(contract.BoundContract):
    pass
