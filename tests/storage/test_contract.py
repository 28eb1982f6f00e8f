"""Runs the contract of the store on every adapter."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from storage import Store
from storage.sqlite import open_sqlite
from tests.contracts import store as contract
from tests.contracts import store_records


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> contract.OpenStore:
    """Opens the same database each time it is called."""
    match request.param:
        case "sqlite":
            return partial(open_sqlite, tmp_path / "chatd.sqlite3")
        case unknown:
            raise ValueError(unknown)


@pytest.fixture
async def store(open_store: contract.OpenStore) -> AsyncIterator[Store]:
    """An open store with an empty database."""
    async with open_store() as opened:
        yield opened


class TestMessages(contract.MessageContract):
    pass


class TestHistory(contract.HistoryContract):
    pass


class TestFind(contract.FindContract):
    pass


class TestTrim(contract.TrimContract):
    pass


class TestMembers(contract.MemberContract):
    pass


class TestAccounts(contract.AccountContract):
    pass


class TestDevices(contract.DeviceContract):
    pass


class TestValues(contract.ValueContract):
    pass


class TestRevisions(store_records.RevisionContract):
    pass


class TestPeople(store_records.PeopleContract):
    pass


class TestBackends(store_records.BackendContract):
    pass


class TestAway(store_records.AwayContract):
    pass
