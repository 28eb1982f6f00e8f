"""From a message and its users to a job for each device: what happens when the time to get it live is over."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from chatd.push.content import Content
from chatd.push.counts import PushCounts
from chatd.push.examiner import Candidate, Examiner
from chatd.push.jobs import DevicePush, Plan, push_job, read_plan
from chatd.push.states import End, Hold, decide
from storage.jobs import Job, NewJob
from storage.records import PushTokenRecord

# Users whose jobs are made together. The store's writer has messages to write as well, and must not be held up by
# thousands of jobs.
_USERS_AT_ONCE = 500

_log = structlog.get_logger("push")


@dataclass(slots=True)
class Part:
    """Plans that are worked on together, and their jobs (those that cannot be read too)."""

    jobs: list[Job] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    users: int = 0


def parts_of(jobs: Sequence[Job]) -> Iterator[Part]:
    """Cut jobs into parts of a bounded number of users."""
    part = Part()
    for job in jobs:
        part.jobs.append(job)
        plan = _read(job)
        if plan is not None:
            part.plans.append(plan)
            part.users += len(plan.users)
        if part.users >= _USERS_AT_ONCE:
            yield part
            part = Part()
    if part.jobs:
        yield part


class Planner:
    """Makes the jobs of devices."""

    def __init__(
        self, examiner: Examiner, providers: Sequence[str], counts: PushCounts, clock: Callable[[], float]
    ) -> None:
        self._examiner = examiner
        self._providers = providers
        self._counts = counts
        self._clock = clock  # Unix seconds

    async def plan(self, plans: Sequence[Plan]) -> list[NewJob]:
        """Return the jobs of all devices that should be told now or later.

        Raises:
            StoreError: The store cannot be asked.
        """
        tokens = await self._examiner.tokens(sorted({user for plan in plans for user in plan.users}))
        candidates = [
            Candidate(plan.content, token)
            for plan in plans
            for user in plan.users
            for token in tokens.get(user, ())
            if token.provider in self._providers and takes(token, plan.content)
        ]
        if not candidates:
            return []
        findings = await self._examiner.examine(candidates)
        now = int(self._clock() * 1000)
        made = []
        for one, finding in zip(candidates, findings, strict=True):
            step = decide(one.content, finding.facts, now)
            if isinstance(step, End):
                self._counts.ends[step] += 1
                continue
            is_held = isinstance(step, Hold)
            push = DevicePush(one.content, one.token, finding.locale, finding.badge, 0 if is_held else now)
            made.append(push_job(push, step.until if isinstance(step, Hold) else now))
        return made


def takes(token: PushTokenRecord, content: Content) -> bool:
    """Tell whether a token is for this kind of push: apps on Apple's devices have one for each kind.

    That of a Live Activity is only for what names the same activity.
    """
    if token.provider != "apns":
        return content.kind != "liveactivity" or token.provider == "webhook"
    kind = token.details.get("kind", "alert")
    if content.kind == "liveactivity":
        return kind == "liveactivity" and token.details.get("activity", "") == content.activity
    return kind == ("voip" if content.kind == "voip" else "alert")


def _read(job: Job) -> Plan | None:
    try:
        return read_plan(job.body)
    except msgspec.MsgspecError as error:
        _log.error("a job that cannot be read is dropped", queue=job.queue, error=str(error))
        return None
