"""Runs the contract of rates on every adapter."""

import time
from collections.abc import AsyncIterator

import pytest

from chatd.rates import MemoryRates, Rates
from chatd.redis.rates import RedisRates
from tests.contracts import rates as contract
from tests.rig.cluster import running_servers


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.system)])
async def rates(request: pytest.FixtureRequest) -> AsyncIterator[Rates]:
    """Return what counts, with nothing counted yet."""
    here = MemoryRates(100, time.monotonic, time.time)
    if request.param == "memory":
        yield here
        return
    async with running_servers(request.getfixturevalue("redis_server")) as servers:
        yield RedisRates(servers, here)


class TestRates(contract.RatesContract):
    pass
