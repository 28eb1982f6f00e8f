"""Questions to Cassandra from trio: the driver's own thread does the I/O, and one wake-up of trio brings all results.

trio thread                                  the driver's thread (libev)
send(statement, done) ──── socket buffer ──► write, read, decode
done(rows, error) of each ◄── one hop ────── what finished until trio woke
"""

import re
import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import outcome
import structlog
import trio
from cassandra.cluster import Cluster
from cassandra.cluster import Session as DriverSession

from storage import StoreBusy, StoreError
from storage.cassandra_cluster import CONDITIONAL, READ, WRITE, connect, refusal, shutdown
from storage.cassandra_settings import CassandraSettings

Row = tuple[Any, ...]
Done = Callable[[Sequence[Row], StoreError | None], None]

# Cassandra warns of prepared statements whose tables have no keyspace in their names.
_TABLE = re.compile(r"\b(FROM|INTO|UPDATE) +(?=[a-z_]+\b)")

_log = structlog.get_logger(__name__)


class Session:
    """One connection to the cluster. All methods but `open` are called on the trio thread.

    Every question has a deadline, `request_seconds`, after which it is StoreUnavailable; so is everything while no node
    answers. What waits for an answer is bounded: by `in_flight`, and by the writer for its batches.
    """

    def __init__(self, cluster: Cluster, driver: DriverSession, settings: CassandraSettings) -> None:
        self.settings = settings
        self._cluster = cluster
        self._driver = driver
        self._token = trio.lowlevel.current_trio_token()
        self._slots = trio.CapacityLimiter(settings.in_flight)
        self._prepared: dict[str, Any] = {}
        self._preparing: dict[str, trio.Event] = {}
        self._results: deque[tuple[Done, Sequence[Row], Exception | None]] = deque()
        self._is_woken = False

    @classmethod
    async def open(cls, settings: CassandraSettings, *, makes_keyspace: bool = True) -> "Session":
        """Connect, in a thread; see `connect`.

        Raises:
            StoreUnavailable: No node answers.
            StoreError: The cluster refuses.
        """
        cluster, driver = await trio.to_thread.run_sync(partial(connect, settings, makes_keyspace=makes_keyspace))
        return cls(cluster, driver, settings)

    async def aclose(self) -> None:
        """Close all connections, in a thread; what has not been answered by then is answered with an error."""
        await trio.to_thread.run_sync(shutdown, self._cluster)

    @property
    def cluster(self) -> Cluster:
        """The driver's side of the cluster, for what it knows of its nodes."""
        return self._cluster

    @property
    def driver(self) -> DriverSession:
        """The driver's session, for what blocks and runs in a thread: migrations."""
        return self._driver

    # Asking.

    async def read(self, query: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        """Ask a question that changes nothing, and return the rows; what one answer has is bounded by its LIMIT.

        Raises:
            StoreBusy: `reads_waiting` wait for their turn already.
            StoreUnavailable: There was no answer in time.
        """
        return await self._ask(query, values, READ)

    async def write(self, query: str, values: Sequence[Any] = ()) -> None:
        """Make a change that may be made twice. Errors as for `read`; whether it was made is not known then."""
        await self._ask(query, values, WRITE)

    async def change(self, query: str, values: Sequence[Any] = ()) -> Row:
        """Make a change under a condition (a lightweight transaction); the answer's first value tells whether."""
        rows = await self._ask(query, values, CONDITIONAL)
        return rows[0]

    async def run(self, statement: Any) -> None:
        """Run a batch that may be run twice. Errors as for `write`."""
        async with self._slots:
            await self._wait(statement, WRITE)

    async def _ask(self, query: str, values: Sequence[Any], profile: object) -> Sequence[Row]:
        prepared = self._prepared.get(query) or await self.prepare(query)
        if self._slots.statistics().tasks_waiting >= self.settings.reads_waiting:
            raise StoreBusy(f"{self.settings.reads_waiting} questions wait for the Cassandra cluster already")
        try:
            bound = prepared.bind(values)
        except (TypeError, ValueError, OverflowError, struct.error) as error:
            raise StoreError(f"the database cannot take these values: {error}") from error
        async with self._slots:
            return await self._wait(bound, profile)

    async def _wait(self, statement: Any, profile: object) -> Sequence[Row]:
        waiting: list[trio.lowlevel.Task] = [trio.lowlevel.current_task()]

        def done(rows: Sequence[Row], error: StoreError | None) -> None:
            if waiting:
                result = outcome.Value(rows) if error is None else outcome.Error(error)
                trio.lowlevel.reschedule(waiting.pop(), result)

        def abandon(_: object) -> trio.lowlevel.Abort:
            waiting.clear()  # the answer will be nobody's
            return trio.lowlevel.Abort.SUCCEEDED

        self.send(statement, done, profile)
        rows: Sequence[Row] = await trio.lowlevel.wait_task_rescheduled(abandon)
        return rows

    def send(self, statement: Any, done: Done, profile: object = WRITE, *, seconds: float | None = None) -> None:
        """Ask without waiting; `done` is called once, later, on the trio thread. `seconds`: less time than usual."""
        try:
            future = self._driver.execute_async(
                statement, execution_profile=profile, timeout=seconds or self.settings.request_seconds
            )
        except Exception as error:  # the driver's threads are gone: it was shut down
            self._take(done, (), error)
            return
        # The driver calls these at once, in this thread, if the answer is there already.
        future.add_callbacks(partial(self._take, done, error=None), partial(self._take_error, done))

    def timestamp(self) -> int:
        """Return the time for cells of which a statement does not say it, in microseconds; it never goes back."""
        now: int = self._cluster.timestamp_generator()
        return now

    # Preparing.

    async def prepare(self, query: str) -> Any:
        """Return the prepared statement of a query. It is prepared once, in a thread: that asks every node.

        Raises:
            StoreUnavailable: No node answers.
        """
        while (prepared := self._prepared.get(query)) is None:
            preparing = self._preparing.get(query)
            if preparing is not None:
                await preparing.wait()
                continue
            done = self._preparing[query] = trio.Event()
            try:
                prepared = await trio.to_thread.run_sync(self._prepare, query, abandon_on_cancel=True)
            except Exception as error:
                raise refusal(error) from error
            finally:
                del self._preparing[query]
                done.set()
            self._prepared[query] = prepared
        return prepared

    def _prepare(self, query: str) -> Any:
        """Prepare in a thread. What depends on the state before it is asked by `change`, which never asks twice."""
        qualified = _TABLE.sub(rf"\1 {self.settings.keyspace}.", query)
        prepared = self._driver.prepare(qualified)
        prepared.is_idempotent = True
        return prepared

    # Called in the driver's threads.

    def _take_error(self, done: Done, error: Exception) -> None:
        self._take(done, (), error)

    def _take(self, done: Done, rows: Sequence[Row] | None, error: Exception | None) -> None:
        self._results.append((done, rows or (), error))
        if not self._is_woken:
            self._is_woken = True
            try:
                self._token.run_sync_soon(self._tell)
            except trio.RunFinishedError:
                return

    # Called on the trio thread.

    def _tell(self) -> None:
        """Hand out all results that are there."""
        self._is_woken = False  # before the last look: what comes after it wakes again
        results = self._results
        while results:
            self.tell(*results.popleft())

    def tell(self, done: Done, rows: Sequence[Row], error: Exception | None) -> None:
        """Call `done`, with an error in the store's terms."""
        try:
            done(rows, None if error is None else self._refusal(error))
        except Exception:
            # An error that left a callback of trio's would end the whole process.
            _log.exception("a callback of a finished question failed")

    def _refusal(self, error: Exception) -> StoreError:
        found = refusal(error)
        if found is not error:
            found.__cause__ = error
        return found
