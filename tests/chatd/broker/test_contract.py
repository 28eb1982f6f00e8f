"""Runs the contract of the broker on every adapter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

pytest.register_assert_rewrite("tests.contracts.broker")

from storage.sqlite import open_sqlite  # noqa: E402
from tests.contracts import broker as contract  # noqa: E402
from tests.fakes.hand_clock import HandClock  # noqa: E402
from tests.rig.broker import Desk, memory_broker  # noqa: E402
from tests.rig.redis import RedisServer  # noqa: E402
from tests.rig.redis_broker import redis_config, redis_node  # noqa: E402


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.system)])
def open_desk(request: pytest.FixtureRequest, tmp_path: Path) -> contract.OpenDesk:
    """Opens a broker on the same data each time it is called."""
    clock = HandClock()

    @asynccontextmanager
    async def open_memory() -> AsyncIterator[Desk]:
        desk = Desk()
        clock.advance(1)
        async with open_sqlite(tmp_path / "chatd.sqlite3") as store, trio.open_nursery() as nursery:
            broker = desk.broker = memory_broker(store, desk, clock=clock)
            await broker.start()
            nursery.start_soon(broker.run)
            yield desk
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await broker.stop()

    @asynccontextmanager
    async def open_redis(server: RedisServer) -> AsyncIterator[Desk]:
        async with (
            open_sqlite(tmp_path / "chatd.sqlite3") as store,
            redis_node(store, redis_config(server.address)) as node,
        ):
            yield node.desk

    match request.param:
        case "memory":
            return open_memory
        case "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            return lambda: open_redis(server)
        case unknown:
            raise ValueError(unknown)


@pytest.fixture
async def desk(open_desk: contract.OpenDesk) -> AsyncIterator[Desk]:
    """A broker that has no messages yet."""
    async with open_desk() as opened:
        yield opened


class TestPublish(contract.PublishContract):
    pass


class TestKeys(contract.KeyContract):
    pass


class TestRecover(contract.RecoverContract):
    pass


class TestHistory(contract.HistoryContract):
    pass
