"""Failures of the database, which the writer reports in order and survives."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import StoreBusy, StoreError, StoreUnavailable
from storage import sqlite_messages as messages_table
from storage.records import StoredMessage
from storage.sqlite import prepare
from storage.sqlite_connection import connect_reader, connect_writer
from storage.sqlite_writer import Write, Writer

ROOM = ChannelName("room:one")


def message(seq: int, *, key: str = "", channel: ChannelName = ROOM) -> StoredMessage:
    return StoredMessage(
        channel=channel,
        epoch=Epoch("first"),
        seq=Seq(seq),
        sender=UserId("alice"),
        key=key or f"key-{seq}",
        at=seq,
        body=Body(Encoding.JSON, b"{}"),
    )


class Disk:
    """A database whose connections can be made to fail, and which remembers what was asked of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_broken = False
        prepare(path)

    def connect(self) -> sqlite3.Connection:
        """Open a connection for the writer thread."""
        connection = connect_writer(self.path)
        # SQLite asks at every step of a statement, and breaks off with an error when told so.
        connection.set_progress_handler(lambda: self.is_broken, 1)
        return connection

    def seqs(self) -> list[int]:
        """Read what is on disk."""
        connection = connect_reader(self.path)
        try:
            return [found.seq for found in messages_table.history(connection, ROOM, None, None, 1000)]
        finally:
            connection.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "chatd.sqlite3")


@asynccontextmanager
async def open_writer(
    connect: Callable[[], sqlite3.Connection], *, queue_rows: int = 100, batch_rows: int = 10
) -> AsyncIterator[Writer]:
    writer = Writer(connect, queue_rows=queue_rows, batch_rows=batch_rows)
    try:
        yield writer
    finally:
        with trio.CancelScope(shield=True):
            await writer.aclose()


class Reports:
    """What was reported of each seq, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[int, type[Exception] | None]] = []

    def submit(self, writer: Writer, seq: int) -> trio.Event:
        """Queue one message; the event is set when it was reported."""
        event = trio.Event()

        def done(error: Exception | None) -> None:
            self.all.append((seq, type(error) if error else None))
            event.set()

        writer.put(Write([message(seq)], done))
        return event


async def test_when_a_batch_fails_everything_queued_behind_it_fails_in_order(disk: Disk) -> None:
    reports = Reports()
    async with open_writer(disk.connect) as writer:
        disk.is_broken = True
        for seq in range(1, 50):  # five batches
            reports.submit(writer, seq)
        await reports.submit(writer, 50).wait()
        assert reports.all == [(seq, StoreUnavailable) for seq in range(1, 51)]
        assert writer.statistics().rows_waiting == 0
        assert writer.statistics().rows_written == 0
    assert disk.seqs() == []


async def test_the_writer_works_again_by_itself_when_the_cause_is_gone(disk: Disk) -> None:
    reports = Reports()
    async with open_writer(disk.connect) as writer:
        await reports.submit(writer, 1).wait()
        disk.is_broken = True
        await reports.submit(writer, 2).wait()
        await reports.submit(writer, 3).wait()
        disk.is_broken = False
        await reports.submit(writer, 4).wait()
        assert writer.statistics().failures == 2
    assert reports.all == [(1, None), (2, StoreUnavailable), (3, StoreUnavailable), (4, None)]
    assert disk.seqs() == [1, 4]


async def test_what_is_submitted_while_a_failure_is_on_its_way_fails_too(disk: Disk) -> None:
    entered, leave = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def fail_once() -> sqlite3.Connection:
        if not leave.is_set():
            token.run_sync_soon(entered.set)
            leave.wait()
            raise sqlite3.OperationalError("disk I/O error")
        return disk.connect()

    reports = Reports()
    async with open_writer(fail_once) as writer:
        reports.submit(writer, 1)
        await entered.wait()
        second = reports.submit(writer, 2)  # the first has failed already, but nobody on this thread knows
        leave.set()
        await second.wait()
        await reports.submit(writer, 3).wait()
    assert reports.all == [(1, StoreUnavailable), (2, StoreUnavailable), (3, None)]
    assert disk.seqs() == [3]


async def test_a_message_submitted_by_a_failed_ones_callback_is_written(disk: Disk) -> None:
    reports = Reports()
    again: list[trio.Event] = []
    async with open_writer(disk.connect) as writer:
        disk.is_broken = True

        def retry(_: Exception | None) -> None:
            disk.is_broken = False
            again.append(reports.submit(writer, 1))

        writer.put(Write([message(1)], retry))
        await reports.submit(writer, 2).wait()
        await again[0].wait()
    assert reports.all == [(2, StoreUnavailable), (1, None)]
    assert disk.seqs() == [1]


async def test_a_full_disk_fails_the_write_and_leaves_the_database_whole(disk: Disk) -> None:
    full = True

    def connect() -> sqlite3.Connection:
        connection = connect_writer(disk.path)
        if full:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        return connection

    errors: list[Exception | None] = []
    async with open_writer(connect, queue_rows=10_000, batch_rows=5000) as writer:
        finished = trio.Event()
        writer.put(Write([message(seq) for seq in range(1, 5001)], lambda error: errors.append(error)))
        writer.put(Write([], lambda _: finished.set()))
        await finished.wait()
        full = False
        await writer.run(lambda db: messages_table.insert(db, [message(1)]))
    (error,) = errors
    assert isinstance(error, StoreUnavailable)
    assert "full" in str(error)
    assert disk.seqs() == [1]


async def test_closing_reports_what_cannot_be_written(disk: Disk) -> None:
    reports = Reports()
    async with open_writer(disk.connect) as writer:
        disk.is_broken = True
        for seq in range(1, 31):
            reports.submit(writer, seq)
    assert reports.all == [(seq, StoreUnavailable) for seq in range(1, 31)]


async def test_a_closed_writer_takes_nothing(disk: Disk) -> None:
    async with open_writer(disk.connect) as writer:
        pass
    with pytest.raises(StoreUnavailable):
        writer.put(Write([message(1)], lambda _: None))


async def test_a_full_queue_takes_nothing_and_calls_nothing(disk: Disk) -> None:
    reports = Reports()
    async with open_writer(disk.connect, queue_rows=3) as writer:
        for seq in (1, 2, 3):
            last = reports.submit(writer, seq)
        with pytest.raises(StoreBusy):
            reports.submit(writer, 4)
        with pytest.raises(StoreBusy):
            await writer.run(lambda _: None)
        await last.wait()
        await reports.submit(writer, 5).wait()
    assert reports.all == [(1, None), (2, None), (3, None), (5, None)]


async def test_what_a_job_raises_is_its_own_answer_and_undoes_only_the_job(disk: Disk) -> None:
    def break_off(connection: sqlite3.Connection) -> None:
        messages_table.insert(connection, [message(2)])
        connection.execute("INSERT INTO meta (name, value) VALUES (?, ?)", ("surrogate", "\ud800"))

    reports = Reports()
    async with open_writer(disk.connect) as writer:
        reports.submit(writer, 1)
        with pytest.raises(StoreError, match="refuses the values"):
            await writer.run(break_off)
        await reports.submit(writer, 3).wait()
    assert reports.all == [(1, None), (3, None)]
    assert disk.seqs() == [1, 3]


async def test_two_messages_for_one_place_are_refused(disk: Disk) -> None:
    errors: list[Exception | None] = []
    reports = Reports()
    async with open_writer(disk.connect) as writer:
        await reports.submit(writer, 1).wait()
        writer.put(Write([message(1, key="another")], errors.append))
    (error,) = errors
    assert isinstance(error, StoreUnavailable)
    assert isinstance(error.__cause__, messages_table.PlaceTaken)
    assert disk.seqs() == [1]
