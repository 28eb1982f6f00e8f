"""What only the SQLite store promises: one process at a time, a private file, a refusal in one line."""

import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage import StoreError, StoreUnavailable
from storage.file_lock import DatabaseInUse, FileLock
from storage.migrations import MigrationError
from storage.sqlite import SqliteSettings, open_sqlite
from storage.sqlite_connection import connect_writer


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of the files in a folder, by name."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_a_second_store_on_the_same_file_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    async with open_sqlite(path) as store:
        with pytest.raises(DatabaseInUse, match=r"chatd\.sqlite3 is in use by another chatd \(process \d+\)"):
            async with open_sqlite(path):
                pass
        await store.put_meta("name", "value")
    async with open_sqlite(path) as store:
        assert await store.get_meta("name") == "value"


def test_of_several_that_open_a_new_file_at_once_none_is_refused(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def connect(path: Path) -> str:
        barrier.wait(timeout=60)
        with closing(connect_writer(path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            return str(mode)

    # Once in some fifteen times two of four are at the same step: often enough for fifty files.
    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            assert list(threads.map(connect, [tmp_path / f"{number}.sqlite3"] * 4)) == ["wal"] * 4


async def test_the_lock_is_free_after_a_failed_opening(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        async with open_sqlite(path):
            pass
    with FileLock(path):
        pass


async def test_a_database_of_a_newer_chatd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    async with open_sqlite(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema_migrations VALUES (999, 'future', 'checksum', 1)")
    with pytest.raises(MigrationError, match="use a newer chatd"):
        async with open_sqlite(path):
            pass


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        async with open_sqlite(tmp_path / "nowhere" / "chatd.sqlite3"):
            pass


async def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    async with open_sqlite(path) as store:
        await store.put_meta("name", "value")
        assert set(modes(tmp_path).values()) == {0o600}


async def test_closing_leaves_one_file_and_no_log(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    async with open_sqlite(path) as store:
        await store.put_meta("name", "value")
        await store.get_meta("name")
    assert modes(tmp_path).keys() == {"chatd.sqlite3", "chatd.sqlite3.lock"}


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "chatd.sqlite3", SqliteSettings(read_threads=1)) as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get_meta("name")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.put_meta("name", "value")


async def test_reading_a_broken_database_is_reported_as_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "chatd.sqlite3"
    async with open_sqlite(path) as store:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TABLE meta")
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.check()
