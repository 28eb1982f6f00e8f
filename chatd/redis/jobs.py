"""The queue of jobs of many nodes: in Redis, where any node puts, claims and finishes what any other does.

All jobs of a queue are in one shard, and each step is one script (chatd/redis/lua/jobs.lua), so it is done wholly or
not at all. What was put survives what Redis survives; how Redis is to keep its data, docs/howto says.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from chatd.config import Config
from chatd.redis import RedisBusy, RedisError
from chatd.redis.packing import Argument
from chatd.redis.running import running
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from storage import StoreBusy, StoreUnavailable
from storage.jobs import ERROR_CHARACTERS, Job, JobCounts, JobQueue, NewJob

_SCRIPT = Script("jobs", keys=10)
_PARTS = ("counter", "known", "bodies", "ready", "claimed", "lanes", "open", "keys", "live", "dead")
_ID_DIGITS = 16
_NEVER = 2**53  # beyond every number of a job


@asynccontextmanager
async def open_redis_jobs(config: Config) -> AsyncIterator["RedisJobs"]:
    """Open the queue for somebody at a terminal.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    servers = Servers(config.redis, "chatd-jobs")
    try:
        async with running(servers):
            yield RedisJobs(servers, waiting=config.jobs.waiting, kept_dead=config.jobs.dead)
    except RedisError as error:
        raise StoreUnavailable(f"Redis: {error}") from error


class RedisJobs:
    """Implements `storage.jobs.JobQueue`; its promises are said there, and hold for each queue of a `put` by itself.

    `waiting` bounds the jobs of one queue that are not dead, `kept_dead` those that are. `servers` must be running.
    """

    def __init__(self, servers: Servers, *, waiting: int, kept_dead: int) -> None:
        self._servers = servers
        self._waiting = waiting
        self._kept_dead = kept_dead

    async def put(self, jobs: Sequence[NewJob], *, now: int) -> int:
        """Add jobs whose keys are not known."""
        queues: dict[str, list[Argument]] = {}
        for job in jobs:
            queues.setdefault(job.queue, []).extend((job.due, job.lane, job.key, job.body))
        added = 0
        for queue, values in queues.items():
            answer = await self._run(queue, "put", now, self._waiting, *values)
            if answer < 0:
                raise StoreBusy(f"{self._waiting} jobs of the queue {queue} wait already")
            added += answer
        return added

    async def claim(self, queue: str, *, now: int, lease_ms: int, limit: int) -> list[Job]:
        """Take jobs that are due."""
        return _jobs(queue, await self._run(queue, "claim", now, now + lease_ms, limit))

    async def finish(self, jobs: Sequence[Job]) -> None:
        """Forget jobs that are done."""
        queues: dict[str, list[Argument]] = {}
        for job in jobs:
            queues.setdefault(job.queue, []).extend((job.job_id, job.attempts))
        for queue, values in queues.items():
            await self._run(queue, "finish", *values)

    async def retry(self, job: Job, *, due: int, error: str) -> None:
        """Let a job be claimed again later."""
        await self._run(job.queue, "retry", job.job_id, job.attempts, due, error[:ERROR_CHARACTERS])

    async def bury(self, job: Job, *, error: str) -> None:
        """Give a job up."""
        await self._run(job.queue, "bury", job.job_id, job.attempts, error[:ERROR_CHARACTERS], self._kept_dead)

    async def dead(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of dead jobs."""
        return _jobs(queue, await self._run(queue, "page", "dead", _behind(after), limit))

    async def pending(self, queue: str, *, after: str | None = None, limit: int) -> list[Job]:
        """Return a page of jobs that are not dead."""
        return _jobs(queue, await self._run(queue, "page", "live", _behind(after), limit))

    async def replay(self, queue: str, job_ids: Sequence[str], *, now: int) -> int:
        """Let dead jobs be claimed again."""
        count: int = await self._run(queue, "replay", now, *_ids(job_ids))
        return count

    async def cancel(self, queue: str, keys: Sequence[str]) -> int:
        """Forget jobs by their keys."""
        count: int = await self._run(queue, "cancel", *keys)
        return count

    async def counts(self, queue: str) -> JobCounts:
        """Count the jobs of a queue."""
        live, claimed, dead, *_ = await self._run(queue, "look")
        return JobCounts(waiting=live - claimed, claimed=claimed, dead=dead)

    async def next_due(self, queue: str) -> int | None:
        """Return when a job can be claimed next."""
        _, _, _, *first = await self._run(queue, "look")
        return first[0] if first else None

    async def _run(self, queue: str, step: str, *values: Argument) -> Any:
        shards = self._servers.shards
        shard = shards.of(f"jobs:{queue}")
        keys = [shards.key(shard, f"jobs:{queue}:{part}") for part in _PARTS]
        try:
            return await self._servers.run_script(shard, _SCRIPT, (*keys, step, *values))
        except RedisBusy as error:
            raise StoreBusy(str(error)) from error
        except RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error


def _behind(after: str | None) -> int:
    return 0 if after is None else int(next(_ids([after]), str(_NEVER)))


def _ids(texts: Iterable[str]) -> Iterator[str]:
    """Return those texts that can be ids of ours."""
    return (text for text in texts if len(text) == _ID_DIGITS and text.isascii() and text.isdigit())


def _jobs(queue: str, answer: list[list[Any]]) -> list[Job]:
    return [
        Job(
            job_id=job_id.decode(),
            queue=queue,
            lane=lane.decode(),
            key=key.decode(),
            body=body,
            due=due,
            attempts=attempts,
            created_at=created_at,
            error=error.decode(),
        )
        for job_id, lane, key, body, due, attempts, created_at, error in answer
    ]


_: type[JobQueue] = RedisJobs
