"""Sends batches of messages: over a line to a node that has the partition, or by the driver where that does not work.

    answer                     done
    error, or the line breaks  the driver asks again, with its rules of who is asked and how often
    none for a while           another node is asked as well; the first answer counts
    none for too long          StoreUnavailable

All of it may be written twice, so nobody has to know whether the first attempt arrived.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import trio
from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement, BatchType

from storage import StoreUnavailable
from storage import cassandra_wire as wire
from storage.cassandra_line import Line
from storage.cassandra_lines import Lines
from storage.cassandra_session import Done, Row, Session

_TICK_SECONDS = 0.1  # how often is looked for answers that are overdue
_LEAST_SECONDS = 0.1  # that the driver has, however late it is asked


class Prepared:
    """A prepared statement as it stands in a batch."""

    __slots__ = ("query_id", "start")

    def __init__(self, query_id: bytes, markers: int) -> None:
        self.query_id = query_id
        self.start = wire.execution(query_id, markers)


class Batch:
    """Statements with their values, packed; all of it may be written twice."""

    __slots__ = ("routing_key", "statements")

    def __init__(self, routing_key: bytes) -> None:
        self.routing_key = routing_key
        self.statements: list[tuple[Prepared, Sequence[bytes]]] = []

    def add(self, prepared: Prepared, values: Sequence[bytes]) -> None:
        """Add a statement."""
        self.statements.append((prepared, values))


class _Request:
    """A batch without an answer."""

    __slots__ = ("batch", "began", "body", "done", "is_over", "is_repeated", "is_with_driver", "line")

    def __init__(self, batch: Batch, body: bytes, line: Line, done: Done) -> None:
        self.batch = batch
        self.body = body
        self.line = line
        self.done = done
        self.began = trio.current_time()
        self.is_repeated = False  # another node was asked as well
        self.is_with_driver = False
        self.is_over = False


class Dispatch:
    """Sends batches. All methods are called on the trio thread; without `run` the driver sends them all."""

    def __init__(self, session: Session, lines: Lines) -> None:
        self._session = session
        self._settings = settings = session.settings
        self._lines = lines
        self._consistency: int = ConsistencyLevel.name_to_value[settings.consistency.upper()]
        self._under_way: dict[_Request, None] = {}  # the oldest first

    async def run(self) -> None:
        """Keep connections, and look after what has no answer, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lines.run)
            while True:
                await trio.sleep(_TICK_SECONDS)
                self._look()

    def send(self, batch: Batch, done: Done) -> None:
        """Write a batch; `done` is called later."""
        line = self._lines.best(batch.routing_key)
        if line is None:
            self._session.send(self._statement(batch), done)
            return
        statements = [(prepared.start, values) for prepared, values in batch.statements]
        body = wire.batch(statements, self._consistency, self._session.timestamp())
        request = _Request(batch, body, line, done)
        self._under_way[request] = None
        line.send(body, partial(self._answered, request))

    def _statement(self, batch: Batch) -> Any:
        """Return the batch as the driver takes it."""
        statement = BatchStatement(BatchType.UNLOGGED)
        statement.is_idempotent = True
        statement.keyspace = self._settings.keyspace
        statement.routing_key = batch.routing_key
        for prepared, values in batch.statements:
            statement._add_statement_and_params(True, prepared.query_id, values)
        return statement

    def _answered(self, request: _Request, error: str) -> None:
        """Take what came over a line."""
        if request.is_over:
            return
        if not error:
            self._finish(request, (), None)
        elif not request.is_with_driver:
            request.is_with_driver = True
            left = request.began + self._settings.request_seconds - trio.current_time()
            self._session.send(
                self._statement(request.batch), partial(self._finish, request), seconds=max(left, _LEAST_SECONDS)
            )

    def _finish(self, request: _Request, rows: Sequence[Row], error: Exception | None) -> None:
        if request.is_over:
            return
        request.is_over = True
        del self._under_way[request]
        self._session.tell(request.done, rows, error)

    def _look(self) -> None:
        """Ask another node for what is overdue, and give up what is too late."""
        settings, now = self._settings, trio.current_time()
        for request in list(self._under_way):
            waited = now - request.began
            if waited < settings.speculative_seconds:
                break
            if request.is_with_driver:
                continue  # which has a deadline of its own
            if waited >= settings.request_seconds:
                self._finish(request, (), StoreUnavailable("the Cassandra cluster does not answer in time"))
            elif not request.is_repeated and (line := self._lines.other(request.batch.routing_key, request.line)):
                request.is_repeated = True
                line.send(request.body, partial(self._answered, request))
