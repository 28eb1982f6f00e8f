"""Runs the contract of moving on every adapter, and moves everything from one to another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.cassandra import open_cassandra
from storage.moving import Target
from storage.sqlite import open_sqlite
from tests.contracts import moving as contract
from tests.storage.conftest import cassandra_settings


@pytest.fixture(params=["sqlite", pytest.param("cassandra", marks=pytest.mark.system)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """An open store with an empty database."""
    match request.param:
        case "sqlite":
            async with open_sqlite(tmp_path / "chatd.sqlite3") as opened:
                yield opened
        case "cassandra":
            settings = cassandra_settings(request.getfixturevalue("empty_keyspace"))
            async with open_cassandra(settings) as cluster:
                yield cluster
        case unknown:
            raise ValueError(unknown)


class TestMoving(contract.MovingContract):
    pass
