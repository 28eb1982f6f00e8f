"""The one thread that writes to the SQLite database: everything that waits when it wakes is one synced transaction.

    trio thread                              writer thread
    put(write) ──────── waiting ───────────► take all that waits, up to batch_rows
                                             BEGIN · insert · COMMIT, with fsync
    done(None) of each, in order ◄────────── one hop for the whole batch

When a batch fails, the writer stops until the trio thread has told its writes and all that waited behind them. So no
later message of a channel is kept after an earlier one was lost, and callers know of the loss before they write again.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog
import trio

from storage import Done, StoreBusy, StoreError, StoreStatistics, StoreUnavailable
from storage import sqlite_messages as messages_table
from storage.records import StoredMessage

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

Job = Callable[[sqlite3.Connection], Any]
"""A write that is more than messages. It runs in the writer thread, in a savepoint of the batch's transaction."""


class Write:
    """What waits to be written: messages, or a job with its result."""

    __slots__ = ("done", "error", "job", "messages", "result")

    def __init__(self, messages: Sequence[StoredMessage], done: Done, job: Job | None = None) -> None:
        self.messages = messages
        self.done = done
        self.job = job
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def rows(self) -> int:
        """What it counts against the bounds."""
        return 1 if self.job else len(self.messages)


Batch = list[Write]


class Writer:
    """Owns the writing connection and its thread. All methods are called on the trio thread.

    `connect` is called in the writer thread: at the start, and again after a failure.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, queue_rows: int, batch_rows: int) -> None:
        self._connect = connect
        self._queue_rows = queue_rows
        self._batch_rows = batch_rows
        self._waiting: SimpleQueue[Write | None] = SimpleQueue()  # None: close
        self._token = trio.lowlevel.current_trio_token()
        self._told = threading.Semaphore(0)  # released when the writes of a failed batch have been told
        self._connection: sqlite3.Connection | None = None
        self._is_closing = False
        self._closed = trio.Event()
        self._rows_waiting = 0
        self._rows_written = 0
        self._batches_written = 0
        self._failures = 0
        # A daemon: if trio itself fails, nobody is left to close the writer, and the process must still end.
        threading.Thread(target=self._run, name="sqlite writer", daemon=True).start()

    # Called on the trio thread.

    def put(self, write: Write) -> None:
        """Queue a write; never waits. Its `done` is called later, on the trio thread.

        Raises:
            StoreBusy: `queue_rows` wait already.
            StoreUnavailable: The writer was closed.
        """
        rows = write.rows
        if self._rows_waiting + rows > self._queue_rows:
            raise StoreBusy(f"{self._rows_waiting} rows wait to be written already")
        if self._is_closing:
            raise StoreUnavailable("the store is closed")
        self._rows_waiting += rows
        self._waiting.put(write)

    async def run(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a job behind everything queued before it; return its result when it is on disk.

        Being cancelled ends the waiting, not the job.
        """
        finished = trio.Event()
        write = Write((), lambda _: finished.set(), job)
        self.put(write)
        await finished.wait()
        if write.error is not None:
            raise write.error
        result: _T = write.result
        return result

    async def aclose(self) -> None:
        """Write what is queued, move the log into the database file and end the thread. Do not cancel it."""
        self._is_closing = True
        self._waiting.put(None)
        await self._closed.wait()

    def statistics(self) -> StoreStatistics:
        """Return counts since the start, and what waits now."""
        return StoreStatistics(self._rows_written, self._batches_written, self._rows_waiting, self._failures)

    def _tell(self, batch: Batch) -> None:
        """Call `done` of each write, in order."""
        self._batches_written += 1
        for write in batch:
            rows = write.rows
            self._rows_waiting -= rows
            if write.error is None:
                self._rows_written += rows
            self._call_done(write)

    def _tell_failed(self, batch: Batch, cause: Exception) -> None:
        """Fail a batch and all that waits behind it, then let the writer go on."""
        failed = batch + self._take_waiting()
        self._failures += 1
        for write in failed:
            self._rows_waiting -= write.rows
            write.error = StoreUnavailable(f"the database cannot be written: {cause}")
            write.error.__cause__ = cause
            self._call_done(write)
        self._told.release()

    def _take_waiting(self) -> Batch:
        waiting = []
        with contextlib.suppress(Empty):
            while (write := self._waiting.get_nowait()) is not None:
                waiting.append(write)
        if self._is_closing:
            # Nothing was queued behind the mark that says so, but it may have been taken out just now.
            self._waiting.put(None)
        return waiting

    def _call_done(self, write: Write) -> None:
        try:
            write.done(write.error)
        except Exception:
            # An error that left a callback of trio's would end the whole process, and with it all other writes.
            _log.exception("a callback of a finished write failed")

    # Called in the writer thread.

    def _run(self) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            while (batch := self._next_batch()) is not None:
                try:
                    self._write(batch)
                except Exception as error:
                    self._disconnect()
                    self._token.run_sync_soon(self._tell_failed, batch, error)
                    self._told.acquire()
                else:
                    self._token.run_sync_soon(self._tell, batch)
            self._disconnect()
            self._token.run_sync_soon(self._closed.set)

    def _next_batch(self) -> Batch | None:
        """Wait for a write and take what waits behind it, up to `batch_rows`; None when it is time to end."""
        write = self._waiting.get()
        if write is None:
            return None
        batch = [write]
        rows = write.rows
        with contextlib.suppress(Empty):
            while rows < self._batch_rows:
                write = self._waiting.get_nowait()
                if write is None:
                    self._waiting.put(None)  # the last in the queue, and so it stays
                    break
                batch.append(write)
                rows += write.rows
        return batch

    def _write(self, batch: Batch) -> None:
        """Write a batch in one transaction, in order."""
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        messages: list[StoredMessage] = []
        for write in batch:
            if write.job is None:
                messages += write.messages
                continue
            messages_table.insert(connection, messages)
            messages = []
            _run_job(connection, write, write.job)
        messages_table.insert(connection, messages)
        connection.execute("COMMIT")

    def _disconnect(self) -> None:
        """Close the connection, which rolls back what is open; the next batch makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _run_job(connection: sqlite3.Connection, write: Write, job: Job) -> None:
    """Run a job. What it raises is its own answer and undoes the job only, unless the database itself failed."""
    connection.execute("SAVEPOINT job")
    try:
        write.result = job(connection)
    except sqlite3.OperationalError:
        raise
    except Exception as error:
        connection.execute("ROLLBACK TO job")
        write.error = error if isinstance(error, StoreError) else _refused(error)
    connection.execute("RELEASE job")


def _refused(cause: Exception) -> StoreError:
    error = StoreError(f"the database refuses the values: {cause}")
    error.__cause__ = cause
    return error
