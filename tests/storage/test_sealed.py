"""A store behind a ring of keys reads and writes plain bodies, and keeps sealed ones."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.body import Body, Encoding
from protocol.names import Seq
from storage import StoreUnavailable
from storage.cassandra import open_cassandra
from storage.moving import Table, Target
from storage.records import StoredMessage
from storage.sealed import SealedStore, opened_source, seal
from storage.sealing import BodyDamaged, KeyMissing, KeyRing, is_sealed
from storage.sqlite import SqliteStore, open_sqlite
from tests.contracts.moving import everything, order, scan_all
from tests.contracts.store import ALICE, OTHER_ROOM, ROOM, message, write
from tests.contracts.store_records import revised
from tests.rig.cassandra import Keyspace
from tests.storage.conftest import cassandra_settings

MASTERS = {"old": b"o" * 32, "new": b"n" * 32}


@pytest.fixture
async def inner(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """The store as it is, without keys."""
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        yield store


async def with_keys(store: Target, active: str = "old", masters: dict[str, bytes] | None = None) -> SealedStore:
    """Put a store behind a ring of keys."""
    return await seal(store, KeyRing(MASTERS if masters is None else masters, active), lambda: 1000)


async def fill(store: Target) -> None:
    """Load some records of every table but the data keys: those are wrapped with a master key of somebody else."""
    for table, records in everything().items():
        if table is not Table.DATA_KEYS:
            await store.load(table, records)


def read_all(folder: Path) -> bytes:
    """Read the database, its log and whatever else there is."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def kept(store: Target) -> list[StoredMessage]:
    """Read messages as they are kept."""
    return await store.history(ROOM, limit=100)


async def test_bodies_are_kept_sealed_and_read_plain(inner: SqliteStore) -> None:
    store = await with_keys(inner)
    await write(store, [message(1), message(2)])
    edited = revised(message(2), b"\x81\xa1x\x01", at=500)
    await store.revise(edited)
    assert await store.history(ROOM, limit=10) == [message(1), edited]
    assert await store.find(ALICE, message(1).key, 0) == message(1)
    assert await store.find(ALICE, "unknown", 0) is None
    assert [is_sealed(each.body) for each in await kept(inner)] == [True, True]


async def test_no_body_is_anywhere_in_the_file(inner: SqliteStore, tmp_path: Path) -> None:
    store = await with_keys(inner)
    await write(store, [message(1, body=Body(Encoding.JSON, b'{"t":"very private"}'))])
    await store.revise(revised(message(1), b"\x81\xa1t\xadstill private", at=500))
    files = read_all(tmp_path)
    assert message(1).key.encode() in files
    assert b"private" not in files


async def test_what_was_written_before_is_read_too(inner: SqliteStore) -> None:
    await write(inner, [message(1)])
    store = await with_keys(inner)
    await write(store, [message(2)])
    assert await store.history(ROOM, limit=10) == [message(1), message(2)]


async def test_sealing_can_be_turned_off_without_losing_anything(inner: SqliteStore) -> None:
    await write(await with_keys(inner), [message(1)])
    store = await with_keys(inner, active="")
    await write(store, [message(2)])
    assert await store.history(ROOM, limit=10) == [message(1), message(2)]
    assert [is_sealed(each.body) for each in await kept(inner)] == [True, False]


async def test_one_data_key_is_made_and_used_again(inner: SqliteStore) -> None:
    await with_keys(inner)
    await with_keys(inner)
    assert [(key.master, key.created_at) for key in await inner.data_keys()] == [("old", 1000)]


async def test_without_a_key_that_it_needs_the_store_does_not_open(inner: SqliteStore) -> None:
    await with_keys(inner)
    with pytest.raises(KeyMissing, match="the master key old is missing"):
        await with_keys(inner, active="", masters={})
    with pytest.raises(KeyMissing, match="the master key old is missing"):
        await with_keys(inner, active="new", masters={"new": b"n" * 32})
    with pytest.raises(KeyMissing, match="the master key old is not the one"):
        await with_keys(inner, masters={"old": b"another".ljust(32)})


async def test_a_data_key_that_another_node_made_is_found(inner: SqliteStore) -> None:
    one, other = await with_keys(inner), await with_keys(inner)
    await inner.put_data_key(KeyRing(MASTERS, "old").make(2000))
    await one.refresh()
    await write(one, [message(1)])
    assert await other.history(ROOM, limit=10) == [message(1)]


async def test_a_body_whose_data_key_is_lost_makes_history_unavailable(inner: SqliteStore) -> None:
    store = await with_keys(inner)
    await write(store, [message(1)])
    [sealed] = await kept(inner)
    lost = bytearray(sealed.body.raw)
    lost[2:10] = b"lost key"
    await inner.load(Table.MESSAGES, [message(2, body=Body(Encoding.JSON, bytes(lost)))])
    with pytest.raises(StoreUnavailable, match=f"room:one 2 is sealed with the data key {b'lost key'.hex()}"):
        await store.history(ROOM, limit=10)
    assert await store.history(ROOM, before=Seq(2), limit=10) == [message(1)]


async def test_a_row_that_was_changed_says_so_and_leaves_the_others_readable(
    inner: SqliteStore, tmp_path: Path
) -> None:
    store = await with_keys(inner)
    await write(store, [message(1), message(2), message(3)])
    with closing(sqlite3.connect(tmp_path / "chatd.sqlite3")) as database, database:
        database.execute("UPDATE messages SET body = (SELECT body FROM messages WHERE seq = 3) WHERE seq = 2")
    with capture_logs() as logs:
        page = await store.history(ROOM, limit=10)
    changed = msgspec.structs.replace(message(2), body=Body(Encoding.JSON, b"{}"), kind="unreadable")
    assert page == [message(1), changed, message(3)]
    assert [(line["event"], line["channel"], line["seq"]) for line in logs] == [
        ("a sealed body does not open", ROOM, 2)
    ]


async def test_everything_that_is_loaded_plain_is_sealed(inner: SqliteStore, tmp_path: Path) -> None:
    store = await with_keys(inner)
    await fill(store)
    messages = [each for each in await scan_all(inner, Table.MESSAGES) if isinstance(each, StoredMessage)]
    assert all(is_sealed(each.body) or each.kind == "deleted" for each in messages)
    opened = await scan_all(await opened_source(inner, KeyRing(MASTERS, "")), Table.MESSAGES)
    assert sorted(opened, key=order) == sorted(everything()[Table.MESSAGES], key=order)


async def test_what_is_loaded_sealed_stays_as_it_is(inner: SqliteStore, tmp_path: Path) -> None:
    store = await with_keys(inner)
    await write(store, [message(1)])
    sealed = await kept(inner)
    async with open_sqlite(tmp_path / "another.sqlite3") as another:
        target = await with_keys(another)
        await target.load(Table.DATA_KEYS, await inner.data_keys())
        await target.load(Table.MESSAGES, sealed)
        assert await kept(another) == sealed
        assert await target.history(ROOM, limit=10) == [message(1)]


async def test_an_opened_source_has_plain_bodies_and_no_data_keys(inner: SqliteStore) -> None:
    await fill(inner)
    store = await with_keys(inner)
    await write(store, [message(99)])
    opened = await opened_source(inner, KeyRing(MASTERS, ""))
    assert await scan_all(opened, Table.DATA_KEYS) == []
    assert message(99) in await scan_all(opened, Table.MESSAGES, limit=5)
    assert await scan_all(opened, Table.USERS) == await scan_all(inner, Table.USERS)


async def test_a_source_is_not_opened_where_a_body_is_damaged_or_a_key_is_missing(inner: SqliteStore) -> None:
    store = await with_keys(inner)
    await write(store, [message(1)])
    with pytest.raises(KeyMissing):
        await opened_source(inner, KeyRing({}, ""))
    [sealed] = await kept(inner)
    await inner.load(Table.MESSAGES, [msgspec.structs.replace(sealed, channel=OTHER_ROOM)])
    opened = await opened_source(inner, KeyRing(MASTERS, ""))
    with pytest.raises(BodyDamaged):
        await scan_all(opened, Table.MESSAGES)


@pytest.mark.system
async def test_bodies_are_sealed_in_cassandra_too(empty_keyspace: Keyspace) -> None:
    async with open_cassandra(cassandra_settings(empty_keyspace)) as cluster:
        store = await with_keys(cluster)
        await write(store, [message(1), message(2)])
        edited = revised(message(2), b"\x81\xa1x\x01", at=500)
        await store.revise(edited)
        assert await store.history(ROOM, limit=10) == [message(1), edited]
        assert await store.find(ALICE, message(1).key, 0) == message(1)
        assert [is_sealed(each.body) for each in await kept(cluster)] == [True, True]
        assert await (await with_keys(cluster)).history(ROOM, limit=10) == [message(1), edited]
