"""Does the work of pushes: asks the queue for jobs, has providers hand them over, and does what the outcome says.

Any number of nodes and of processes of their own (`chatd push`) may do it at the same time: the queue gives each job to
one of them, and to another when that one died.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

import structlog
import trio

from chatd.config import Push
from chatd.push import Gone, Outcome, Provider, Rejected, Throttled, Unavailable
from chatd.push.circuits import Circuits
from chatd.push.counts import PushCounts
from chatd.push.examiner import Candidate, Examiner
from chatd.push.http import Http
from chatd.push.jobs import PLAN_QUEUE, DevicePush, queue_of, read_push, token_name
from chatd.push.notify import notification_of
from chatd.push.planning import Planner, parts_of
from chatd.push.states import Again, End, Hold, backoff, decide, settle
from chatd.push.templates import Templates
from storage import Store, StoreError
from storage.jobs import Job, JobQueue
from storage.records import PushTokenRecord

# Plans claimed at once: each may be a hundred users.
_PLANS = 500

# A plan that was claimed this often and never finished is what makes the work fail.
_PLAN_TRIES = 20

# A device's job that was checked this lately is handed over without looking again.
_FRESH_MS = 5000

# Time to hand over what is on its way when the process leaves.
_DRAIN_SECONDS = 3.0

_log = structlog.get_logger("push")


class PushWorker:
    """Works the queues of some providers."""

    def __init__(
        self,
        config: Push,
        store: Store,
        jobs: JobQueue,
        examiner: Examiner,
        providers: Mapping[str, Provider],
        templates: Templates,
        counts: PushCounts,
        http: Http | None,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._jobs = jobs
        self._examiner = examiner
        self._providers = providers
        self._templates = templates
        self._counts = counts
        self._http = http
        self._clock = clock  # Unix seconds
        self._chance = chance
        self._planner = Planner(examiner, list(providers), counts, clock)
        self.circuits = Circuits(config)
        self.in_flight = 0
        self._room = trio.Event()
        self._wakes: dict[str, trio.Event] = {}
        self._sent: OrderedDict[str, None] = OrderedDict()
        self._done: list[Job] = []
        self._any_done = trio.Event()
        self.on_given_up: list[Callable[[DevicePush, str], None]] = []
        """Called with each push that nobody will get, and the reason; must return at once."""
        self._failing = False

    def wake(self, queue: str = PLAN_QUEUE) -> None:
        """Look at a queue now: there are new jobs in it, due now or at a time that is not known yet."""
        if queue in self._wakes:
            self._wakes[queue].set()

    async def run(self) -> None:
        """Work until cancelled; what is on its way then has a moment to get there."""
        async with trio.open_nursery() as nursery:
            sends, leave = await nursery.start(self._run_sends)
            try:
                async with trio.open_nursery() as loops:
                    loops.start_soon(self._work, PLAN_QUEUE, self._plan)
                    for name in self._providers:
                        loops.start_soon(self._work, queue_of(name), self._hand_over_loop(name, sends))
            finally:
                leave()

    async def _run_sends(
        self, task_status: trio.TaskStatus[tuple[trio.Nursery, Callable[[], None]]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the tasks that hand over, which outlive the loops that start them."""
        leaving = trio.Event()
        with trio.CancelScope(shield=True) as scope:

            def leave() -> None:
                scope.deadline = trio.current_time() + _DRAIN_SECONDS
                leaving.set()

            async with trio.open_nursery() as background:
                background.start_soon(self._finish_loop)
                if self._http is not None:
                    await background.start(self._http.run)
                async with trio.open_nursery() as sends:
                    task_status.started((sends, leave))
                    await leaving.wait()
                await self._finish()
                background.cancel_scope.cancel()

    # The loops: one for each queue.

    async def _work(self, queue: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Call `step` as long as it finds something; else wait until something is due, or known to be."""
        self._wakes[queue] = trio.Event()
        while True:
            pause = self._config.poll_seconds
            try:
                if await step():
                    self._failing = False
                    continue
                due = await self._jobs.next_due(queue)
                if due is not None:
                    pause = min(pause, max(0.001, due / 1000 - self._clock()))
            except StoreError as error:
                self._fail(error)
            except Exception:
                _log.exception("the queue of pushes failed", queue=queue)
            with trio.move_on_after(pause):
                await self._wakes[queue].wait()
                self._wakes[queue] = trio.Event()

    async def _plan(self) -> bool:
        """Make jobs for devices of the plans that are due; tell whether there were some."""
        jobs = await self._claim(PLAN_QUEUE, _PLANS)
        if not jobs:
            return False
        for job in [job for job in jobs if job.attempts > _PLAN_TRIES]:
            jobs.remove(job)
            await self._jobs.bury(job, error="tried too often")
        for part in parts_of(jobs):
            made = await self._planner.plan(part.plans)
            if made:
                await self._jobs.put(made, now=self._now())
                for queue in {job.queue for job in made}:
                    self.wake(queue)
            await self._jobs.finish(part.jobs)
        return True

    def _hand_over_loop(self, name: str, sends: trio.Nursery) -> Callable[[], Awaitable[bool]]:
        queue, provider = queue_of(name), self._providers[name]

        async def step() -> bool:
            """Begin to hand over what is due; tell whether there was something."""
            rest = self.circuits.rest(name, trio.current_time())
            if rest:
                await trio.sleep(rest)
            while self.in_flight > self._config.at_once * 3 // 4:  # so that jobs are claimed many at a time
                self._room = trio.Event()
                await self._room.wait()
            limit = 1 if self.circuits.is_open(name) else self._config.at_once - self.in_flight
            jobs = await self._claim(queue, limit)
            for job in jobs:
                self.in_flight += 1
                sends.start_soon(self._do, name, provider, job)
            return bool(jobs)

        return step

    async def _claim(self, queue: str, limit: int) -> list[Job]:
        lease = int(self._config.lease_seconds * 1000)
        return await self._jobs.claim(queue, now=self._now(), lease_ms=lease, limit=limit)

    # One job.

    async def _do(self, name: str, provider: Provider, job: Job) -> None:
        """Bring one job a step further. Whatever goes wrong stays here; a job that is left comes again by its lease."""
        try:
            await self._hand_over(name, provider, job)
        except StoreError as error:
            self._fail(error)
        except Exception:
            _log.exception("a push failed", queue=job.queue, job=job.job_id)
            await self._give_up(job, "a fault in chatd; it is in its log")
        finally:
            self.in_flight -= 1
            self._room.set()

    async def _hand_over(self, name: str, provider: Provider, job: Job) -> None:
        push = read_push(job.body)
        if job.key in self._sent:
            self._end(job, End.REPEATED)
            return
        looked = await self._look_again(push) if self._now() - push.checked_at > _FRESH_MS else push
        if isinstance(looked, End):
            self._end(job, looked)
            return
        if isinstance(looked, Hold):
            await self._jobs.retry(job, due=looked.until, error="quiet hours")
            return
        circuit = provider.circuit(looked.token)
        wait = self.circuits.wait(circuit, trio.current_time())
        if wait:
            await self._jobs.retry(job, due=self._now() + math.ceil(wait * 1000), error=f"{circuit} is left alone")
            return
        outcome = await provider.send(notification_of(looked, self._templates), looked.token)
        self._note(circuit, outcome)
        await self._settle(name, job, looked, outcome)

    async def _look_again(self, push: DevicePush) -> DevicePush | Hold | End:
        """Decide again about a job that was held or tried before: the token, the user and the wishes may be others."""
        user = push.token.user
        tokens = (await self._examiner.tokens([user])).get(user, ())
        current = next((one for one in tokens if _is_same(one, push.token)), None)
        if current is None:
            return End.GONE
        [finding] = await self._examiner.examine([Candidate(push.content, current)])
        now = self._now()
        step = decide(push.content, finding.facts, now)
        if isinstance(step, Hold | End):
            return step
        return DevicePush(push.content, current, finding.locale, finding.badge, now)

    def _note(self, circuit: str, outcome: Outcome) -> None:
        """Tell the circuit breaker how it went."""
        now = trio.current_time()
        if isinstance(outcome, Unavailable):
            if self.circuits.failed(circuit, now, outcome.retry_after):
                _log.warning("a push service is left alone for a while", service=circuit, reason=outcome.reason)
        elif isinstance(outcome, Throttled) and outcome.everybody:
            self.circuits.pause(circuit, now, outcome.retry_after or self._config.rest_seconds)
        else:
            self.circuits.succeeded(circuit)

    async def _settle(self, name: str, job: Job, push: DevicePush, outcome: Outcome) -> None:
        config = self._config
        pause = backoff(job.attempts, config.retry_seconds, config.retry_max_seconds, self._chance())
        step = settle(outcome, push.content, self._now(), pause)
        if isinstance(step, Again):
            self._counts.again[name] += 1
            await self._jobs.retry(job, due=step.due, error=step.reason)
            return
        if step is End.PUSHED:
            self._remember(job.key)
            self._counts.handed_over[name] += 1
            step = End.DRY if config.dry_run else step
        elif isinstance(outcome, Gone):
            await self._remove(push.token, outcome)
        elif isinstance(outcome, Rejected):
            self._tell_given_up(push, outcome.reason)
            _log.warning("a push was rejected", provider=name, token=token_name(push.token), reason=outcome.reason)
            self._counts.ends[step] += 1
            await self._give_up(job, outcome.reason)
            return
        elif step is End.EXPIRED:
            self._tell_given_up(push, "the service did not take it in time")
        self._end(job, step)

    def _tell_given_up(self, push: DevicePush, reason: str) -> None:
        for tell in self.on_given_up:
            tell(push, reason)

    async def _remove(self, token: PushTokenRecord, outcome: Gone) -> None:
        """Remove a token that is good for nothing, unless it was registered since."""
        if outcome.since is not None and token.created_at > outcome.since:
            return
        await self._store.remove_push_token(token.provider, token.token)
        _log.info("a push token was removed", provider=token.provider, token=token_name(token), reason=outcome.reason)

    async def _give_up(self, job: Job, reason: str) -> None:
        try:
            await self._jobs.bury(job, error=reason)
        except StoreError as error:
            self._fail(error)

    def _remember(self, key: str) -> None:
        """Remember what was handed over: should the queue not hear of it, the job comes again."""
        self._sent[key] = None
        if len(self._sent) > self._config.sent_remembered:
            self._sent.popitem(last=False)

    # Ends.

    def _end(self, job: Job, end: End) -> None:
        self._counts.ends[end] += 1
        self._done.append(job)
        self._any_done.set()

    async def _finish_loop(self) -> None:
        while True:
            await self._any_done.wait()
            self._any_done = trio.Event()
            await self._finish()
            if self._done:
                await trio.sleep(self._config.poll_seconds)
                self._any_done.set()

    async def _finish(self) -> None:
        """Tell the queue of all jobs that are done; what it does not take now is tried again later."""
        done, self._done = self._done, []
        if not done:
            return
        try:
            await self._jobs.finish(done)
        except StoreError as error:
            self._fail(error)
            # No more than what may be in flight: without the queue no new ones come either.
            self._done = [*done, *self._done][-self._config.at_once :]

    def _fail(self, error: StoreError) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("the queue of pushes fails", error=str(error))

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _is_same(one: PushTokenRecord, other: PushTokenRecord) -> bool:
    return (one.provider, one.token) == (other.provider, other.token)
