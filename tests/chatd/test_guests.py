"""Guests who are gone are removed, and nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from chatd.config import Config
from chatd.guests import Guests
from protocol.names import ChannelName, DeviceId, UserId
from storage import StoreUnavailable
from storage.records import DeviceRecord, Role, UserRecord
from storage.sqlite import SqliteStore, open_sqlite

DAY = 86_400_000
NOW = 1000 * DAY
LONG_AGO = NOW - 91 * DAY
LATELY = NOW - 89 * DAY


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with open_sqlite(tmp_path / "chatd.sqlite3") as opened:
        yield opened


def configure(days: int = 90, rows: int = 1000) -> Config:
    base = Config()
    return msgspec.structs.replace(
        base,
        auth=msgspec.structs.replace(base.auth, guest_days=days),
        store=msgspec.structs.replace(base.store, trim_rows=rows),
    )


async def add(store: SqliteStore, name: str, *, created_at: int = LONG_AGO, is_guest: bool = True) -> UserId:
    user = UserId(name)
    await store.add_user(UserRecord(user=user, password_hash=None, created_at=created_at, is_guest=is_guest))
    return user


async def add_device(store: SqliteStore, user: UserId, seen_at: int) -> None:
    device = DeviceRecord(
        device=DeviceId(f"phone of {user}"),
        user=user,
        title="",
        created_at=LONG_AGO,
        seen_at=seen_at,
        generation=0,
        token_hash=b"",
        expires_at=seen_at,
    )
    await store.put_device(device)


async def names(store: SqliteStore) -> list[str]:
    return [user.user for user in await store.users(limit=100)]


async def test_a_guest_who_was_not_seen_for_long_is_removed_with_its_devices(store: SqliteStore) -> None:
    gone = await add(store, "guest-gone")
    await add_device(store, gone, LONG_AGO)
    await store.save_last_seen({gone: LONG_AGO})
    assert await Guests(store).trim(configure(), NOW) == 1
    assert await names(store) == []
    assert await store.devices(gone) == []


async def test_who_is_no_guest_or_was_seen_or_belongs_to_a_channel_stays(store: SqliteStore) -> None:
    await add(store, "alice", is_guest=False)
    await add(store, "guest-new", created_at=LATELY)
    await store.save_last_seen({await add(store, "guest-here"): LATELY})
    await add_device(store, await add(store, "guest-refreshing"), LATELY)
    member = await add(store, "guest-member")
    await store.create_channel(ChannelName("group:a"), {member: Role.MEMBER}, LONG_AGO)
    before = await names(store)
    assert await Guests(store).trim(configure(), NOW) == 0
    assert await names(store) == before


async def test_guests_stay_for_ever_where_that_is_wanted(store: SqliteStore) -> None:
    await add(store, "guest-gone")
    assert await Guests(store).trim(configure(days=0), NOW) == 0
    assert await names(store) == ["guest-gone"]


async def test_all_accounts_have_their_turn_some_at_a_time(store: SqliteStore) -> None:
    for number in range(5):
        await add(store, f"guest-{number}", created_at=LONG_AGO if number % 2 else LATELY)
    guests = Guests(store)
    assert [await guests.trim(configure(rows=2), NOW) for _ in range(3)] == [1, 1, 0]
    assert await names(store) == ["guest-0", "guest-2", "guest-4"]
    assert await guests.trim(configure(rows=2), NOW + 10 * DAY) == 2  # from the beginning again


async def test_after_a_failure_the_same_accounts_are_looked_at_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, "guest-gone")
    guests = Guests(store)
    with monkeypatch.context() as patched:

        async def fail(user: UserId) -> None:
            raise StoreUnavailable("no disk")

        patched.setattr(store, "erase_user", fail)
        with pytest.raises(StoreUnavailable):
            await guests.trim(configure(), NOW)
    assert await guests.trim(configure(), NOW) == 1
