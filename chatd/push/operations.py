"""What an operator may ask of pushes: what waits, what was given up, and to try that again."""

from collections.abc import Callable, Sequence

import msgspec

from chatd.push import PROVIDERS
from chatd.push.jobs import PLAN_QUEUE, queue_of, read_plan, read_push
from protocol.names import UserId
from storage.jobs import Job, JobQueue

PLANS = "plans"
"""What the queue is called in which a message waits until it is time to tell its users; the others are providers'."""

_QUEUES = {PLANS: PLAN_QUEUE} | {name: queue_of(name) for name in PROVIDERS}

# Dead pushes that one call of `replay` looks at together.
_PAGE = 500


class UnknownQueue(Exception):
    """Pushes have no queue of this name."""


class PushQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One queue: `plans`, or a provider's."""

    queue: str
    waiting: int
    dead: int


class DeadPush(msgspec.Struct, frozen=True, kw_only=True):
    """One push that was given up: of which message, to whom. `device` is null for a plan. `at` is in Unix ms."""

    letter: str
    channel: str
    seq: int
    users: list[UserId]
    device: str | None
    at: int
    attempts: int
    error: str


class PushOperations:
    """Looks after the queues of pushes. Methods raise UnknownQueue, and StoreError where the queue fails."""

    def __init__(self, jobs: JobQueue, wake: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._wake = wake
        self._clock = clock  # Unix seconds

    async def queues(self) -> list[PushQueue]:
        """List all queues."""
        return [await self._state(name, queue) for name, queue in _QUEUES.items()]

    async def dead(self, name: str, *, after: str | None = None, limit: int) -> list[DeadPush]:
        """Return a page of what was given up, the oldest first; `after` is the last `letter` of the page before."""
        queue = _find(name)
        return [_shown(job) for job in await self._jobs.dead(queue, after=after, limit=limit)]

    async def replay(self, name: str, letters: Sequence[str] | None = None) -> int:
        """Try again what was given up: these, or all; return how many there were.

        A push whose message has been read since, or is too old by now, ends without being handed over.
        """
        queue = _find(name)
        now = int(self._clock() * 1000)
        if letters is not None:
            count = await self._jobs.replay(queue, letters, now=now)
        else:
            count = 0
            while page := await self._jobs.dead(queue, limit=_PAGE):
                count += await self._jobs.replay(queue, [job.job_id for job in page], now=now)
        self._wake(queue)
        return count

    async def _state(self, name: str, queue: str) -> PushQueue:
        counts = await self._jobs.counts(queue)
        return PushQueue(queue=name, waiting=counts.waiting + counts.claimed, dead=counts.dead)


def _find(name: str) -> str:
    queue = _QUEUES.get(name)
    if queue is None:
        raise UnknownQueue(f"pushes have no queue {name!r}: {', '.join(_QUEUES)}")
    return queue


def _shown(job: Job) -> DeadPush:
    """Show a job, without the token, which is a secret, and without the text."""
    device: str | None = None
    users: list[UserId] = []
    channel, seq = "", 0
    try:
        if job.queue == PLAN_QUEUE:
            plan = read_plan(job.body)
            content, users = plan.content, plan.users
        else:
            push = read_push(job.body)
            content, users, device = push.content, [push.token.user], push.token.device
        channel, seq = content.channel, content.seq
    except msgspec.MsgspecError:
        pass  # of another version: there is nothing to say of it but why it is dead
    return DeadPush(
        letter=job.job_id,
        channel=channel,
        seq=seq,
        users=users,
        device=device,
        at=job.created_at,
        attempts=job.attempts,
        error=job.error,
    )
