"""Everything moves from store to store, by a file or directly, though it is interrupted."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.names import ChannelName
from storage import COPIED_AT
from storage.archive import ArchiveDamaged, End, FrameReader
from storage.archive_writer import archive_file
from storage.cassandra import CassandraStore, open_cassandra
from storage.moving import Origin, Page, Source, Table, Target
from storage.sqlite import SqliteStore, open_sqlite
from storage.transfer import (
    MARK,
    PAGE_RECORDS,
    PAGES_AT_ONCE,
    StoreInUse,
    check_archive,
    check_not_being_filled,
    checksum_of,
    copy,
    export,
    load,
)
from tests.contracts.moving import everything, fill, order, scan_all
from tests.contracts.store import message, user
from tests.rig.cassandra import Keyspace
from tests.storage.conftest import cassandra_settings

MANY = 3 * PAGE_RECORDS + 7  # messages, so that there are several pages


class Interrupted(Exception):
    """The power was cut."""


class Fragile:
    """A store that stops to work after so many calls that move something."""

    def __init__(self, store: Target, calls: int) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        if limit > 1:  # not the question whether the table is empty
            self._count()
        return await self._store.scan(table, after=after, limit=limit)

    async def load(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        await self._store.load(table, records)
        self._count()

    def _count(self) -> None:
        if self._calls == 0:
            raise Interrupted
        self._calls -= 1


def fragile(store: Target, calls: int) -> Target:
    """Make a store fragile."""
    broken: Any = Fragile(store, calls)
    found: Target = broken
    return found


def now() -> int:
    """Return the time at the end."""
    return 777


def ignore(table: Table, count: int) -> None:
    """Take progress, and do nothing."""


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with something in every table, and several pages of messages."""
    async with open_sqlite(tmp_path / "full.sqlite3") as store:
        await fill(store)
        await store.load(Table.MESSAGES, [message(seq, channel="room:many") for seq in range(1, MANY + 1)])
        yield store


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with nothing in it."""
    async with open_sqlite(tmp_path / "empty.sqlite3") as store:
        yield store


@pytest.fixture
async def cluster(empty_keyspace: Keyspace) -> AsyncIterator[CassandraStore]:
    """A store of another kind with nothing in it."""
    async with open_cassandra(cassandra_settings(empty_keyspace)) as store:
        yield store


async def export_to(source: Origin, path: Path) -> End:
    """Make or go on with an archive."""
    with archive_file(path, "some id", "kept") as writer:
        return await export(source, writer, now, ignore)


async def load_from(path: Path, target: Target) -> End:
    """Fill a store."""
    with path.open("rb") as file:
        return await load(FrameReader(file, str(path)), target, ignore)


async def assert_same(one: Source, other: Source) -> None:
    """Compare everything in two stores."""
    for table in Table:
        assert sorted(await scan_all(one, table), key=order) == sorted(await scan_all(other, table), key=order)


async def test_everything_comes_through_a_file_and_the_checksums_agree(
    full: SqliteStore, empty: SqliteStore, tmp_path: Path
) -> None:
    end = await export_to(full, tmp_path / "archive")
    with (tmp_path / "archive").open("rb") as file:
        assert check_archive(FrameReader(file, ""), ignore) == end
    assert await load_from(tmp_path / "archive", empty) == end
    await assert_same(full, empty)
    assert (await checksum_of(empty, ignore)).hexdigest() == end.checksum
    assert (await export_to(empty, tmp_path / "again")).checksum == end.checksum
    assert {table: tally.records for table, tally in end.tallies.items()} == {
        table: len(records) + (MANY if table is Table.MESSAGES else 0) for table, records in everything().items()
    }


async def test_everything_is_copied_from_store_to_store(full: SqliteStore, empty: SqliteStore) -> None:
    checksum = await copy(full, empty, "full", now, ignore)
    await assert_same(full, empty)
    assert checksum.hexdigest() == (await checksum_of(full, ignore)).hexdigest()


async def test_a_filled_store_says_when_it_was_copied(full: SqliteStore, empty: SqliteStore, tmp_path: Path) -> None:
    await export_to(full, tmp_path / "archive")
    await load_from(tmp_path / "archive", empty)
    assert await empty.get_meta(COPIED_AT) == "777"
    assert await empty.get_meta(MARK) is None
    await check_not_being_filled(empty)
    with pytest.raises(
        StoreInUse, match=r"has \w+ already \(it was filled from the archive some id, wholly\): only an empty"
    ):
        await load_from(tmp_path / "archive", empty)


async def test_a_store_that_continues_another_is_no_copy(full: SqliteStore, empty: SqliteStore, tmp_path: Path) -> None:
    await export_to(full, tmp_path / "archive")
    with (tmp_path / "archive").open("rb") as file:
        await load(FrameReader(file, ""), empty, ignore, continues=True)
    assert await empty.get_meta(COPIED_AT) is None
    async with open_sqlite(tmp_path / "third.sqlite3") as third:
        await copy(full, third, "full", now, ignore, continues=True)
        assert await third.get_meta(COPIED_AT) is None


async def test_a_store_that_continues_a_copy_is_a_copy_too(
    full: SqliteStore, empty: SqliteStore, tmp_path: Path
) -> None:
    await full.put_meta(COPIED_AT, "55")
    end = await export_to(full, tmp_path / "archive")
    assert (end.at, end.copied_at) == (777, 55)
    with (tmp_path / "archive").open("rb") as file:
        await load(FrameReader(file, ""), empty, ignore, continues=True)
    assert await empty.get_meta(COPIED_AT) == "55"
    async with open_sqlite(tmp_path / "third.sqlite3") as third:
        await copy(full, third, "full", now, ignore, continues=True)
        assert await third.get_meta(COPIED_AT) == "55"


@pytest.mark.parametrize("calls", range(0, 14, 3))
async def test_an_export_goes_on_where_it_was_interrupted(full: SqliteStore, tmp_path: Path, calls: int) -> None:
    for name in ("archive", "whole"):
        if name == "archive":
            with pytest.raises(Interrupted):
                await export_to(fragile(full, calls), tmp_path / name)
            assert not (tmp_path / name).exists()
            with pytest.raises(Interrupted):
                await export_to(fragile(full, 0), tmp_path / name)
        await export_to(full, tmp_path / name)
    assert (tmp_path / "archive").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("calls", range(0, 14, 3))
async def test_an_import_goes_on_where_it_was_interrupted(
    full: SqliteStore, empty: SqliteStore, tmp_path: Path, calls: int
) -> None:
    end = await export_to(full, tmp_path / "archive")
    with pytest.raises(Interrupted):
        await load_from(tmp_path / "archive", fragile(empty, calls))
    with pytest.raises(StoreInUse, match="being filled from the archive some id"):
        await check_not_being_filled(empty)
    # No call more than what was left: nothing that was loaded and marked is loaded again.
    pages = len(everything()) - 1 + MANY // PAGE_RECORDS + 1
    left = pages - calls // PAGES_AT_ONCE * PAGES_AT_ONCE
    assert await load_from(tmp_path / "archive", fragile(empty, left)) == end
    await assert_same(full, empty)


@pytest.mark.parametrize("calls", range(0, 14, 3))
@pytest.mark.parametrize("breaks", ["source", "target"])
async def test_a_copy_goes_on_where_it_was_interrupted(
    full: SqliteStore, empty: SqliteStore, calls: int, breaks: str
) -> None:
    source = fragile(full, calls) if breaks == "source" else full
    target = fragile(empty, calls) if breaks == "target" else empty
    with pytest.raises(Interrupted):
        await copy(source, target, "full", now, ignore)
    checksum = await copy(full, empty, "full", now, ignore)
    await assert_same(full, empty)
    assert checksum.hexdigest() == (await checksum_of(full, ignore)).hexdigest()
    assert checksum.records == sum(map(len, everything().values())) + MANY


async def test_a_store_that_has_something_is_not_filled(full: SqliteStore, empty: SqliteStore, tmp_path: Path) -> None:
    await export_to(full, tmp_path / "archive")
    await empty.add_user(user("early"))
    with pytest.raises(StoreInUse, match="the store has users already"):
        await load_from(tmp_path / "archive", empty)
    with pytest.raises(StoreInUse, match="the store has users already"):
        await copy(full, empty, "full", now, ignore)
    assert await empty.users(limit=10) == [user("early")]
    await check_not_being_filled(empty)


async def test_a_half_filled_store_goes_on_with_the_same_origin_only(
    full: SqliteStore, empty: SqliteStore, tmp_path: Path
) -> None:
    await export_to(full, tmp_path / "archive")
    with pytest.raises(Interrupted):
        await copy(full, fragile(empty, 4), "full", now, ignore)
    with pytest.raises(StoreInUse, match="half filled from full"):
        await load_from(tmp_path / "archive", empty)
    with pytest.raises(StoreInUse, match="half filled from full"):
        await copy(full, empty, "another", now, ignore)


async def test_a_damaged_archive_never_makes_a_store_that_serves(
    full: SqliteStore, empty: SqliteStore, tmp_path: Path
) -> None:
    await export_to(full, tmp_path / "archive")
    data = bytearray((tmp_path / "archive").read_bytes())
    data[-len(data) // 3] ^= 1
    (tmp_path / "archive").write_bytes(data)
    with (tmp_path / "archive").open("rb") as file, pytest.raises(ArchiveDamaged, match="is damaged behind byte"):
        check_archive(FrameReader(file, "it"), ignore)
    with pytest.raises(ArchiveDamaged, match="is damaged behind byte"):
        await load_from(tmp_path / "archive", empty)
    with pytest.raises(StoreInUse):
        await check_not_being_filled(empty)


async def test_progress_tells_of_every_record(full: SqliteStore, tmp_path: Path) -> None:
    told = dict.fromkeys(Table, 0)

    def progress(table: Table, count: int) -> None:
        told[table] += count

    with archive_file(tmp_path / "archive", "some id", "kept") as writer:
        end = await export(full, writer, now, progress)
    assert told == {table: tally.records for table, tally in end.tallies.items()}


async def test_an_archive_of_nothing_is_an_archive(empty: SqliteStore, tmp_path: Path) -> None:
    await export_to(empty, tmp_path / "archive")
    end = await load_from(tmp_path / "archive", empty)
    assert end.tallies == {}


@pytest.mark.system
async def test_everything_moves_to_cassandra_and_back(
    full: SqliteStore, cluster: CassandraStore, empty: SqliteStore, tmp_path: Path
) -> None:
    end = await export_to(full, tmp_path / "out")
    with pytest.raises(Interrupted):
        await load_from(tmp_path / "out", fragile(cluster, 12))
    with pytest.raises(StoreInUse):
        await check_not_being_filled(cluster)
    assert await load_from(tmp_path / "out", cluster) == end
    await check_not_being_filled(cluster)
    assert (await checksum_of(cluster, ignore)).hexdigest() == end.checksum
    assert (await cluster.history(ChannelName("room:many"), limit=2))[-1] == message(MANY, channel="room:many")

    with pytest.raises(Interrupted):
        await export_to(fragile(cluster, 14), tmp_path / "back")
    back = await export_to(cluster, tmp_path / "back")
    assert (back.checksum, back.tallies) == (end.checksum, end.tallies)
    await load_from(tmp_path / "back", empty)
    await assert_same(full, empty)


@pytest.mark.system
async def test_everything_is_copied_to_cassandra_and_back(
    full: SqliteStore, cluster: CassandraStore, empty: SqliteStore
) -> None:
    whole = (await checksum_of(full, ignore)).hexdigest()
    with pytest.raises(Interrupted):
        await copy(fragile(full, 12), cluster, "full", now, ignore)
    assert (await copy(full, cluster, "full", now, ignore)).hexdigest() == whole
    with pytest.raises(Interrupted):
        await copy(fragile(cluster, 13), empty, "cluster", now, ignore)
    assert (await copy(cluster, empty, "cluster", now, ignore)).hexdigest() == whole
    await assert_same(full, empty)


@pytest.mark.system
@pytest.mark.parametrize("queue_rows", [PAGE_RECORDS // 3, PAGE_RECORDS * 5 // 2])
async def test_a_queue_that_is_smaller_than_what_is_loaded_at_once_holds_it_up_and_does_not_end_it(
    full: SqliteStore, empty_keyspace: Keyspace, queue_rows: int
) -> None:
    assert queue_rows < MANY  # which go in pages that are loaded at the same time
    async with open_cassandra(cassandra_settings(empty_keyspace, queue_rows=queue_rows)) as store:
        checksum = await copy(full, store, "full", now, ignore)
        assert checksum.hexdigest() == (await checksum_of(store, ignore)).hexdigest()
