"""Fixtures for all tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.cassandra.errors import Missing
from tests.rig import installed, redis
from tests.rig.cassandra import CassandraServer, Keyspace
from tests.rig.node import Rig, running_node
from tests.rig.redis import RedisServer

pytest.register_assert_rewrite("tests.contracts")  # else a failed assertion there says nothing

StartRedis = Callable[..., RedisServer]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a running node with the default configuration."""
    async with running_node(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    installed.require(redis.PACKAGES, "Tests of Redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"), launcher=redis.TIED).start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """Return the Redis server of the whole test run, empty. Who pauses or ends a server takes `start_redis`."""
    _shared_redis.flush()
    return _shared_redis


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Return a function that starts a Redis server of the test's own, with the options of `RedisServer`."""
    installed.require(redis.PACKAGES, "Tests of Redis")
    with ExitStack() as servers:

        def start(**options: object) -> RedisServer:
            directory = tmp_path / f"redis-{len(list(tmp_path.glob('redis-*')))}"
            directory.mkdir()
            server = RedisServer(directory, **options)  # type: ignore[arg-type]
            servers.callback(server.stop)
            return server.start()

        yield start


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Iterator[redis.RedisCluster]:
    """Return a Redis Cluster of three nodes, of the test's own."""
    installed.require(redis.PACKAGES, "Tests of Redis")
    cluster = redis.RedisCluster(tmp_path / "redis-cluster")
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cassandra_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraServer]:
    """Return the Cassandra node of the whole test run, for tests that share a keyspace or look into the tables."""
    server = CassandraServer(tmp_path_factory.mktemp("cassandra"))
    try:
        server.start()
    except Missing as error:
        installed.give_up(str(error))
    yield server
    server.stop()


@pytest.fixture
def cassandra(cassandra_server: CassandraServer) -> Iterator[Keyspace]:
    """Return a new keyspace on the shared Cassandra node, dropped after the test."""
    keyspace = cassandra_server.make_keyspace()
    yield keyspace
    cassandra_server.drop_keyspace(keyspace)
