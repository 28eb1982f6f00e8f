"""What chatd asks of a queue of jobs: work that is due at a time, must survive, and is done at least once.

Adapters: `storage.sqlite_jobs` for one node, chatd/redis/jobs.py for many. Each passes tests/contracts/jobs.py.

A job's life:

    put ──► waiting ──claim──► claimed ──finish──► gone
               ▲                  │
               ├──────retry───────┤   (also when the lease ends: then another claimer gets it)
               │                  └──bury──► dead ──replay──► waiting

A lane is a line of jobs: only its first one that is not dead can be claimed, so jobs of one lane are done one at a
time and in the order in which they were put, however late the first one is. Jobs without a lane do not wait for others.

A claim is known by its job's `attempts`. Finishing, retrying or burying a job whose lease ended and which somebody else
has claimed since changes nothing.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

ERROR_CHARACTERS = 500  # kept of a job's error: enough to know it by, little enough for a list of thousands


class NewJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Work to be done by whoever serves `queue`, not before `due` (Unix milliseconds).

    While a job of this queue and key is waiting, claimed or dead, another one is not put; without a key each one is.
    """

    queue: str
    body: bytes
    due: int
    lane: str = ""
    key: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job as the queue knows it: how often it was claimed (this time counts), and why it failed last."""

    job_id: str
    queue: str
    lane: str
    key: str
    body: bytes
    due: int
    attempts: int
    created_at: int
    error: str


class JobCounts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many jobs of a queue wait (due or not), are claimed (the lease may have ended), and are dead."""

    waiting: int
    claimed: int
    dead: int


class JobQueue(Protocol):
    """Keeps jobs until they are done.

    Promises: what a call returned from survives `kill -9`. What a call does to one queue is done wholly or not at all.
    A job is given to one claimer at a time. Every method may raise StoreUnavailable, and then may have been done or
    not; may be cancelled: what it began is finished all the same; and is called on the trio thread. Times are Unix
    milliseconds.
    """

    async def put(self, jobs: Sequence[NewJob], *, now: int) -> int:
        """Add jobs; return how many were new.

        Raises:
            StoreBusy: A queue is at its bound; none was added.
        """

    async def claim(self, queue: str, *, now: int, lease_ms: int, limit: int) -> list[Job]:
        """Take up to `limit` jobs that are due, the longest due first; others cannot for `lease_ms` from now on.

        Of each lane at most one is taken.
        """

    async def finish(self, jobs: Sequence[Job]) -> None:
        """Forget jobs that are done."""

    async def retry(self, job: Job, *, due: int, error: str) -> None:
        """Let a job be claimed again, not before `due`. The start of `error` is kept."""

    async def bury(self, job: Job, *, error: str) -> None:
        """Give a job up: it is dead until it is replayed. Its lane goes on. Beyond their bound the oldest dead go."""

    async def dead(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return up to `limit` dead jobs that follow the job `after`, in the order in which they were put."""

    async def pending(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return up to `limit` jobs that are not dead and follow the job `after`, in the order of their putting."""

    async def replay(self, queue: str, job_ids: Sequence[str], *, now: int) -> int:
        """Let dead jobs be claimed again from `now` on, as if they were new; return how many were dead.

        In its lane such a job comes before all that were put later and are not claimed.
        """

    async def cancel(self, queue: str, keys: Sequence[str]) -> int:
        """Forget the jobs with these keys that are not dead; return how many there were.

        Who has claimed one is not told: it may still be done this once.
        """

    async def counts(self, queue: str) -> JobCounts:
        """Count the jobs of a queue."""

    async def next_due(self, queue: str) -> int | None:
        """Return when a job can be claimed next (in the past if one can now); None if there is none to wait for."""
