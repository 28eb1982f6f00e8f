"""Many small questions and writes, a bounded number of them at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio
from cassandra.query import BatchStatement, BatchType

from storage import StoreError
from storage.cassandra_session import Row, Session

BATCH_ROWS = 30  # small rows in one batch: far from the size that a server warns of
IN_ROWS = 50  # partitions that one question with IN asks for
AT_ONCE = 8  # batches and questions of one caller

_T = TypeVar("_T")


async def at_once(calls: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """Call all, AT_ONCE at a time, and return their results in order. The first error ends it and is raised alone."""
    results: list[Any] = [None] * len(calls)
    failure: list[StoreError] = []
    todo = iter(enumerate(calls))

    async def work() -> None:
        for place, call in todo:
            try:
                results[place] = await call()
            except StoreError as error:
                failure.append(error)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for _ in range(min(AT_ONCE, len(calls))):
            nursery.start_soon(work)
    if failure:
        raise failure[0]
    return results


async def write_all(session: Session, query: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows with one statement. Some of them may be kept when it fails."""
    prepared = await session.prepare(query)

    async def write(some: Sequence[Sequence[Any]]) -> None:
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        for values in some:
            batch.add(prepared, values)
        await session.run(batch)

    await at_once([partial(write, some) for some in split(rows, BATCH_ROWS)])


async def read_in(session: Session, query: str, keys: Sequence[Any], *more: Any) -> list[Row]:
    """Ask a question whose first marker is an IN, for any number of keys."""
    asked = [partial(session.read, query, (list(some), *more)) for some in split(keys, IN_ROWS)]
    return [row for rows in await at_once(asked) for row in rows]


def split(items: Sequence[_T], size: int) -> list[Sequence[_T]]:
    """Cut a sequence into pieces of a size."""
    return [items[start : start + size] for start in range(0, len(items), size)]
