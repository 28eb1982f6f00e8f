"""The queue of jobs of one node: a table of the store's file, written by the store's own thread."""

from collections.abc import Sequence

from storage import sqlite_job_rows as rows
from storage.jobs import Job, JobCounts, JobQueue, NewJob
from storage.sqlite_reader import Readers
from storage.sqlite_writer import Writer


class SqliteJobs:
    """Implements `storage.jobs.JobQueue`; its promises are said there. An open `SqliteStore` has one.

    `waiting` bounds the jobs of one queue that are not dead, `kept_dead` those that are.
    """

    def __init__(self, readers: Readers, writer: Writer, *, waiting: int, kept_dead: int) -> None:
        self._readers = readers
        self._writer = writer
        self._waiting = waiting
        self._kept_dead = kept_dead

    async def put(self, jobs: Sequence[NewJob], *, now: int) -> int:
        """Add jobs whose keys are not known."""
        copy = list(jobs)
        return await self._writer.run(lambda db: rows.put(db, copy, now, self._waiting))

    async def claim(self, queue: str, *, now: int, lease_ms: int, limit: int) -> list[Job]:
        """Take jobs that are due."""
        return await self._writer.run(lambda db: rows.claim(db, queue, now, now + lease_ms, limit))

    async def finish(self, jobs: Sequence[Job]) -> None:
        """Forget jobs that are done."""
        copy = list(jobs)
        await self._writer.run(lambda db: rows.finish(db, copy))

    async def retry(self, job: Job, *, due: int, error: str) -> None:
        """Let a job be claimed again later."""
        await self._writer.run(lambda db: rows.retry(db, job, due, error))

    async def bury(self, job: Job, *, error: str) -> None:
        """Give a job up."""
        await self._writer.run(lambda db: rows.bury(db, job, error, self._kept_dead))

    async def dead(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of dead jobs."""
        return await self._readers.run(lambda db: rows.dead(db, queue, after, limit))

    async def pending(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of jobs that are not dead."""
        return await self._readers.run(lambda db: rows.pending(db, queue, after, limit))

    async def replay(self, queue: str, job_ids: Sequence[str], *, now: int) -> int:
        """Let dead jobs be claimed again."""
        copy = list(job_ids)
        return await self._writer.run(lambda db: rows.replay(db, queue, copy, now))

    async def cancel(self, queue: str, keys: Sequence[str]) -> int:
        """Forget jobs by their keys."""
        copy = list(keys)
        return await self._writer.run(lambda db: rows.cancel(db, queue, copy))

    async def counts(self, queue: str) -> JobCounts:
        """Count the jobs of a queue."""
        return await self._readers.run(lambda db: rows.counts(db, queue))

    async def next_due(self, queue: str) -> int | None:
        """Return when a job can be claimed next."""
        return await self._readers.run(lambda db: rows.next_due(db, queue))


_: type[JobQueue] = SqliteJobs
