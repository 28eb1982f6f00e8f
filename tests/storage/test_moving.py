"""Runs the contract of moving on every adapter, and moves everything from one to another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.moving import Target
from storage.sqlite import open_sqlite
from tests.contracts import moving as contract


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """An open store with an empty database."""
    match request.param:
        case "sqlite":
            async with open_sqlite(tmp_path / "chatd.sqlite3") as opened:
                yield opened
        case unknown:
            raise ValueError(unknown)


class TestMoving(contract.MovingContract):
    pass
