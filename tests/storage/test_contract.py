"""Runs the contract of the store on every adapter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from storage import Store
from storage.cassandra import open_cassandra
from storage.sealed import seal
from storage.sealing import KeyRing
from storage.sqlite import open_sqlite
from tests.contracts import store as contract
from tests.contracts import store_records
from tests.storage.conftest import cassandra_settings


@asynccontextmanager
async def open_sealed(path: Path) -> AsyncIterator[Store]:
    """Open a SQLite database whose message bodies are sealed."""
    async with open_sqlite(path) as opened:
        yield await seal(opened, KeyRing({"master": b"m" * 32}, "master"), lambda: 0)


@pytest.fixture(params=["sqlite", "sealed", pytest.param("cassandra", marks=pytest.mark.system)])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> contract.OpenStore:
    """Opens the same database each time it is called."""
    match request.param:
        case "sqlite":
            return partial(open_sqlite, tmp_path / "chatd.sqlite3")
        case "sealed":
            return partial(open_sealed, tmp_path / "chatd.sqlite3")
        case "cassandra":
            return partial(open_cassandra, cassandra_settings(request.getfixturevalue("empty_keyspace")))
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
