"""A queue of jobs in memory: passes the contract of the real ones, and may fail when told to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import msgspec
import trio

from storage import StoreBusy, StoreError
from storage.jobs import Job, JobCounts, NewJob

WAITING, CLAIMED, DEAD = "waiting", "claimed", "dead"
ERROR_CHARACTERS = 500


@dataclass
class _Entry:
    job: Job
    ready_at: int
    state: str = WAITING
    number: int = 0


class MemoryJobs:
    """Implements `storage.jobs.JobQueue`. While `error` is set, every call raises it."""

    def __init__(self, waiting: int = 10_000, dead: int = 10_000) -> None:
        self.waiting = waiting
        self.kept_dead = dead
        self.error: StoreError | None = None
        self.puts: list[list[NewJob]] = []
        self._entries: dict[str, _Entry] = {}
        self._numbers = count(1)

    async def put(self, jobs: Sequence[NewJob], *, now: int) -> int:
        """Add jobs whose keys are not known."""
        await self._checkpoint()
        known = {(entry.job.queue, entry.job.key) for entry in self._entries.values() if entry.job.key}
        new = []
        for job in jobs:
            if (job.queue, job.key) not in known:
                new.append(job)
                known |= {(job.queue, job.key)} if job.key else set()
        for queue in {job.queue for job in jobs}:
            held = [e for e in self._entries.values() if e.job.queue == queue and e.state != DEAD]
            if len(held) + sum(job.queue == queue for job in new) > self.waiting:
                raise StoreBusy(f"the queue {queue} is full")
        for job in new:
            number = next(self._numbers)
            made = Job(
                job_id=str(number),
                queue=job.queue,
                lane=job.lane,
                key=job.key,
                body=job.body,
                due=job.due,
                attempts=0,
                created_at=now,
                error="",
            )
            self._entries[made.job_id] = _Entry(made, job.due, number=number)
        self.puts.append(list(jobs))
        return len(new)

    async def claim(self, queue: str, *, now: int, lease_ms: int, limit: int) -> list[Job]:
        """Take jobs that are due."""
        await self._checkpoint()
        due = [entry for entry in self._claimable(queue) if entry.ready_at <= now]
        due.sort(key=lambda entry: (entry.ready_at, entry.number))
        for entry in due[:limit]:
            entry.state, entry.ready_at = CLAIMED, now + lease_ms
            entry.job = msgspec.structs.replace(entry.job, attempts=entry.job.attempts + 1)
        return [entry.job for entry in due[:limit]]

    async def finish(self, jobs: Sequence[Job]) -> None:
        """Forget jobs that are done."""
        await self._checkpoint()
        for job in jobs:
            if self._held(job):
                del self._entries[job.job_id]

    async def retry(self, job: Job, *, due: int, error: str) -> None:
        """Let a job be claimed again later."""
        await self._checkpoint()
        entry = self._held(job)
        if entry is not None:
            entry.state, entry.ready_at = WAITING, due
            entry.job = msgspec.structs.replace(entry.job, due=due, error=error[:ERROR_CHARACTERS])

    async def bury(self, job: Job, *, error: str) -> None:
        """Give a job up."""
        await self._checkpoint()
        entry = self._held(job)
        if entry is not None:
            entry.state = DEAD
            entry.job = msgspec.structs.replace(entry.job, error=error[:ERROR_CHARACTERS])
            dead = sorted(self._of(job.queue, DEAD), key=lambda each: each.number)
            for old in dead[: max(0, len(dead) - self.kept_dead)]:
                del self._entries[old.job.job_id]

    async def dead(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of dead jobs."""
        await self._checkpoint()
        return self._page(self._of(queue, DEAD), after, limit)

    async def pending(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of jobs that are not dead."""
        await self._checkpoint()
        return self._page([*self._of(queue, WAITING), *self._of(queue, CLAIMED)], after, limit)

    async def replay(self, queue: str, job_ids: Sequence[str], *, now: int) -> int:
        """Let dead jobs be claimed again."""
        await self._checkpoint()
        found = [entry for entry in self._of(queue, DEAD) if entry.job.job_id in job_ids]
        for entry in found:
            entry.state, entry.ready_at = WAITING, now
            entry.job = msgspec.structs.replace(entry.job, due=now, attempts=0, error="")
        return len(found)

    async def cancel(self, queue: str, keys: Sequence[str]) -> int:
        """Forget jobs by their keys."""
        await self._checkpoint()
        found = [e for e in self._entries.values() if e.job.queue == queue and e.job.key in keys and e.job.key]
        found = [entry for entry in found if entry.state != DEAD]
        for entry in found:
            del self._entries[entry.job.job_id]
        return len(found)

    async def counts(self, queue: str) -> JobCounts:
        """Count the jobs of a queue."""
        await self._checkpoint()
        waiting, claimed, dead = (len(self._of(queue, state)) for state in (WAITING, CLAIMED, DEAD))
        return JobCounts(waiting=waiting, claimed=claimed, dead=dead)

    async def next_due(self, queue: str) -> int | None:
        """Return when a job can be claimed next."""
        await self._checkpoint()
        return min((entry.ready_at for entry in self._claimable(queue)), default=None)

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error

    def _of(self, queue: str, state: str) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.job.queue == queue and entry.state == state]

    def _claimable(self, queue: str) -> list[_Entry]:
        """Return what is not dead, and of each lane only one: the claimed one, or else the first."""
        free: list[_Entry] = []
        lanes: dict[str, _Entry] = {}
        for entry in sorted(self._entries.values(), key=lambda each: (each.state != CLAIMED, each.number)):
            if entry.job.queue != queue or entry.state == DEAD:
                continue
            if entry.job.lane:
                lanes.setdefault(entry.job.lane, entry)
            else:
                free.append(entry)
        return [*free, *lanes.values()]

    def _held(self, job: Job) -> _Entry | None:
        entry = self._entries.get(job.job_id)
        is_held = entry is not None and entry.state == CLAIMED and entry.job.attempts == job.attempts
        return entry if is_held else None

    def _page(self, entries: list[_Entry], after: str | None, limit: int) -> list[Job]:
        start = 0
        if after is not None:
            start = int(after) if after.isdecimal() and after.isascii() else 2**63
        later = sorted((entry for entry in entries if entry.number > start), key=lambda each: each.number)
        return [entry.job for entry in later[:limit]]
