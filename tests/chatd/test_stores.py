"""What the configuration names is opened: for nodes, and for who looks after it while they serve."""

from pathlib import Path

import msgspec
import pytest

from chatd.config import Config
from chatd.redis.jobs import open_redis_jobs
from chatd.stores import open_beside, open_store
from storage import StoreUnavailable
from storage.jobs import NewJob
from tests.rig.node import changed
from tests.rig.redis import RedisServer

JOB = NewJob(queue="mail", body=b"letter", due=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A node that keeps everything itself."""
    return changed("server", var=str(tmp_path))


def with_redis(config: Config, address: str) -> Config:
    """Let many nodes share it."""
    redis = msgspec.structs.replace(config.redis, servers=(address,), connect_seconds=2.0)
    broker = msgspec.structs.replace(config.broker, kind="redis")
    return msgspec.structs.replace(config, redis=redis, broker=broker)


async def test_jobs_are_seen_beside_a_node_that_serves(config: Config) -> None:
    async with open_store(config) as opened:
        assert opened.jobs is not None
        await opened.jobs.put([JOB], now=1)
        await opened.store.put_meta("name", "value")
        async with open_beside(config) as beside:
            [job] = await beside.jobs.pending("mail", limit=10)
            assert job.body == b"letter"
            assert await beside.get_meta("name") == "value"
            await beside.jobs.put([JOB], now=1)
        assert len(await opened.jobs.pending("mail", limit=10)) == 2


@pytest.mark.system
async def test_jobs_of_many_nodes_are_seen_where_they_are(config: Config, redis_server: RedisServer) -> None:
    shared = with_redis(config, redis_server.address)
    async with open_store(shared) as opened, open_redis_jobs(shared) as jobs:
        await jobs.put([JOB], now=1)
        assert opened.jobs is not None
        assert await opened.jobs.pending("mail", limit=10) == []
        async with open_beside(shared) as beside:
            assert [job.body for job in await beside.jobs.pending("mail", limit=10)] == [b"letter"]


@pytest.mark.system
async def test_an_error_beside_the_nodes_is_no_group_of_errors(config: Config, redis_server: RedisServer) -> None:
    async with open_store(config):
        with pytest.raises(ZeroDivisionError):
            async with open_beside(with_redis(config, redis_server.address)):
                _ = 1 / 0
        with pytest.raises(StoreUnavailable, match=r"Redis: .*127\.0\.0\.1:1 "):
            async with open_beside(with_redis(config, "127.0.0.1:1")):
                pass
