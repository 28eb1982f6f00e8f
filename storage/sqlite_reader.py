"""Reads from the SQLite database in threads, so that a cold page of the disk stops nobody."""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import trio

from storage import StoreUnavailable

_T = TypeVar("_T")


class Readers:
    """Connections that cannot write, as many as threads read at the same time; each is opened on its first use."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], threads: int) -> None:
        self._connect = connect
        self._limiter = trio.CapacityLimiter(threads)
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = threading.Event()

    async def run(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `read` in a thread with a connection; waits while all are in use. Being cancelled abandons the read.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await trio.to_thread.run_sync(self._run, read, limiter=self._limiter, abandon_on_cancel=True)

    def close(self) -> None:
        """Close all connections; one that an abandoned read still has is closed when that ends."""
        self._closed.set()
        while self._idle:
            self._idle.pop().close()

    def _run(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._closed.is_set():
            raise StoreUnavailable("the store is closed")
        connection = self._take()
        try:
            result = read(connection)
        except sqlite3.Error as error:
            connection.close()
            raise StoreUnavailable(f"the database cannot be read: {error}") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._closed.is_set():
            self.close()
        return result

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()
