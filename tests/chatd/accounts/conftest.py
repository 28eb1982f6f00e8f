"""Accounts over records in memory, with a clock that stands still and hashing that costs next to nothing."""

from collections.abc import Callable

import msgspec
import pytest

from chatd.accounts.accounts import Accounts
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import Tokens
from chatd.config import Auth
from tests.fakes.account_records import AccountRecords
from tests.fakes.hand_clock import HandClock

SECRET = bytes(range(32))
CHEAP = Auth(hash_memory_kib=8, hash_passes=1)

Build = Callable[..., Accounts]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def records() -> AccountRecords:
    return AccountRecords()


@pytest.fixture
def tokens(clock: HandClock) -> Tokens:
    return Tokens(SECRET, CHEAP, clock)


@pytest.fixture
def build(records: AccountRecords, tokens: Tokens, clock: HandClock) -> Build:
    """Make accounts with some keys of the configuration changed."""

    def make(**changes: object) -> Accounts:
        config = msgspec.structs.replace(CHEAP, **changes)
        return Accounts(records.as_store(), tokens, RefreshTokens(SECRET), config, clock)

    return make


@pytest.fixture
def accounts(build: Build) -> Accounts:
    return build()
