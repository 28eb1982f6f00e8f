"""Events that backends want published later: kept in the queue of jobs, published by whichever node claims them first.

A job is claimed, its event published, and the job finished. A crash in between publishes again, with the same key,
which places it once.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import structlog

from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.backend.due import do_what_is_due
from chatd.backend.publishing import NewEvent, Publishing
from chatd.backend.usage import Usage
from chatd.broker import Published, Refused
from chatd.config import Backend
from chatd.intervals import work_every
from chatd.rights import Denied, Directory
from protocol.body import Body, Encoding
from protocol.codes import ErrorCode, may_retry
from protocol.names import ChannelName, UserId
from storage.jobs import Job, JobQueue, NewJob

QUEUE = "scheduled"
_MOST_PAUSE_MS = 60_000
_DAY_MS = 86_400_000

_log = structlog.get_logger("backend")


class Scheduled(msgspec.Struct, frozen=True):
    """One event that waits for its time, or (with an `error`) could not be published at it. Times are Unix ms."""

    id: str
    channel: ChannelName
    sender: UserId = msgspec.field(name="from")
    key: str
    at: int
    ttl_seconds: float | None
    error: str


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    channel: ChannelName
    sender: UserId
    key: str
    encoding: int
    body: bytes
    ttl_seconds: float | None


_decode = msgspec.msgpack.Decoder(_Kept).decode


class Schedule:
    """Keeps events until they are due, and publishes them then. Raises `Denied` and `StoreError`."""

    def __init__(
        self,
        jobs: JobQueue,
        publishing: Publishing,
        directory: Directory,
        usage: Usage,
        config: Backend,
        clock: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._publishing = publishing
        self._directory = directory
        self._usage = usage
        self._config = config
        self._clock = clock  # Unix seconds

    # For backends.

    async def put(self, caller: Caller, event: NewEvent, at: int, ttl_seconds: float | None) -> Scheduled:
        """Keep an event until `at` (Unix milliseconds). The same sender and key again change nothing.

        Rights and sizes are checked now; what the channel is like then counts when it is published.
        """
        caller.require(BackendAction.PUBLISH)
        now = self._now()
        if at > now + self._config.ahead_days * _DAY_MS:
            raise Denied(ErrorCode.BAD_REQUEST, f"an event may be scheduled {self._config.ahead_days} days ahead")
        [outcome] = await self._publishing.drafts(caller, [event])
        if isinstance(outcome, Refused):
            raise Denied(outcome.code, outcome.reason)
        wait = await self._usage.messages(caller, 1)
        if wait:
            raise Denied(ErrorCode.RATE_LIMITED, f"more messages than this key may send: wait {wait:.1f} seconds")
        body = outcome.body
        kept = _Kept(outcome.channel, outcome.sender, outcome.key, int(body.encoding), body.raw, ttl_seconds)
        event_id = _id_of(kept.sender, kept.key)
        await self._jobs.put([NewJob(queue=QUEUE, body=msgspec.msgpack.encode(kept), due=at, key=event_id)], now=now)
        return _shown(event_id, kept, at, "")

    async def page(
        self, caller: Caller, *, failed: bool, after: str | None, limit: int
    ) -> tuple[list[Scheduled], str | None]:
        """Return a page of the events that wait or failed, in the order in which they were put, and where it ends."""
        caller.require(BackendAction.PUBLISH)
        read = self._jobs.dead if failed else self._jobs.pending
        jobs = await read(QUEUE, after=after, limit=limit)
        shown = [_shown(job.key, kept, job.due, job.error) for job, kept in ((job, _decode(job.body)) for job in jobs)]
        mine = [event for event in shown if _may_see(caller, event.channel)]
        return mine, jobs[-1].job_id if len(jobs) == limit else None

    async def cancel(self, caller: Caller, event_id: str) -> None:
        """Forget an event that was not published yet.

        Raises:
            Denied: NOT_FOUND if none waits under this id.
        """
        caller.require(BackendAction.PUBLISH)
        if caller.namespaces is not None:
            await self._check_reach(caller, event_id)
        if not await self._jobs.cancel(QUEUE, [event_id]):
            raise Denied(ErrorCode.NOT_FOUND, "no event waits under this id")

    async def _check_reach(self, caller: Caller, event_id: str) -> None:
        """Refuse to touch what a caller could not see. Looks at all that waits: cancelling by such a key is rare."""
        after: str | None = None
        while True:
            jobs = await self._jobs.pending(QUEUE, after=after, limit=1000)
            for job in jobs:
                if job.key == event_id and _may_see(caller, _decode(job.body).channel):
                    return
            if len(jobs) < 1000:
                raise Denied(ErrorCode.NOT_FOUND, "no event waits under this id")
            after = jobs[-1].job_id

    # The worker.

    async def run(self) -> None:
        """Publish what is due, until cancelled. A store that fails is asked again at the next tick."""
        await work_every(self._config.tick_seconds, self.work, _log, "scheduled events cannot be published")

    async def work(self) -> None:
        """Publish everything that is due now."""
        await do_what_is_due(self._jobs, QUEUE, self._publish, now=self._now, at_once=self._config.jobs_at_once)

    async def _publish(self, jobs: Sequence[Job]) -> None:
        done: list[Job] = []
        for job in jobs:
            answer = await self._publish_one(job)
            if not isinstance(answer, Refused):
                done.append(job)
            elif may_retry(answer.code):
                pause = min(_MOST_PAUSE_MS, 1000 * 2 ** min(job.attempts, 16))
                await self._jobs.retry(job, due=self._now() + pause, error=answer.reason)
            else:
                await self._jobs.bury(job, error=f"{answer.code.value} {answer.reason}")
        if done:
            await self._jobs.finish(done)

    async def _publish_one(self, job: Job) -> Published | Refused | None:
        """Publish one event; None if its life was over before it could be."""
        kept = _decode(job.body)
        ends = None if kept.ttl_seconds is None else job.due + int(kept.ttl_seconds * 1000)
        if ends is not None and ends <= self._now():
            return None
        body = Body(Encoding(kept.encoding), kept.body)
        events = [NewEvent(kept.channel, kept.key, body, None, job.attempts > 1, ends)]
        worker = Caller(actor="schedule", sender=kept.sender, actions=_WORKER_ACTIONS, namespaces=None)
        [answer] = await self._publishing.place(await self._publishing.drafts(worker, events), events)
        return answer

    def _now(self) -> int:
        return int(self._clock() * 1000)


_WORKER_ACTIONS = frozenset({BackendAction.PUBLISH})


def _id_of(sender: UserId, key: str) -> str:
    """Return the id of the event that this sender gave this key: fit for a path, whatever the key is."""
    return hashlib.blake2b(f"{sender} {key}".encode(), digest_size=12).hexdigest()


def _shown(event_id: str, kept: _Kept, at: int, error: str) -> Scheduled:
    return Scheduled(event_id, kept.channel, kept.sender, kept.key, at, kept.ttl_seconds, error)


def _may_see(caller: Caller, channel: ChannelName) -> bool:
    return caller.namespaces is None or channel.partition(":")[0] in caller.namespaces
