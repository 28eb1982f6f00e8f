"""What an operator may ask of webhooks: who gets them, what was given up, to send it again, to try an endpoint.

Used by `chatd webhooks` and by the server API. All but `test` only change the queue and the store, so that a
command can do it beside a running node.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from chatd.webhooks.courier import Courier
from chatd.webhooks.events import iso_time
from storage.jobs import Job, JobQueue

# Dead letters that one call of `replay` looks at together.
_PAGE = 500


class UnknownEndpoint(Exception):
    """No endpoint has this name."""


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint and how it is; `gone` when it answered 410 and nothing is sent to it."""

    name: str
    url: str
    events: tuple[str, ...]
    namespaces: tuple[str, ...]
    gone: bool
    waiting: int
    dead: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One request that was given up; `request` is its `webhook-id`, `body` what was sent."""

    letter: str
    request: str
    at: int
    attempts: int
    error: str
    body: msgspec.Raw


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint answered: a status, or an error without one."""

    __test__ = False  # it is no test of pytest's

    status: int | None
    error: str
    milliseconds: int


class WebhookOperations:
    """Looks after endpoints. Methods raise UnknownEndpoint, and StoreError where the queue fails."""

    def __init__(
        self,
        couriers: Mapping[str, Courier],
        jobs: JobQueue,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._couriers = couriers
        self._jobs = jobs
        self._clock = clock  # Unix seconds
        self._new_id = new_id

    async def endpoints(self) -> list[EndpointState]:
        """List all endpoints."""
        return [await self._state(courier) for courier in self._couriers.values()]

    async def dead_letters(self, name: str, *, after: str | None = None, limit: int) -> list[DeadLetter]:
        """Return a page of what was given up, the oldest first; `after` is the last `letter` of the page before."""
        courier = self._find(name)
        return [_letter(job) for job in await self._jobs.dead(courier.route.queue, after=after, limit=limit)]

    async def replay(self, name: str, letters: Sequence[str] | None = None) -> int:
        """Send dead letters again: these, or all; return how many there were."""
        courier = self._find(name)
        queue = courier.route.queue
        if letters is not None:
            count = await self._jobs.replay(queue, letters, now=self._now())
        else:
            count = 0
            while page := await self._jobs.dead(queue, limit=_PAGE):
                count += await self._jobs.replay(queue, [job.job_id for job in page], now=self._now())
        courier.wake()
        return count

    async def test(self, name: str) -> TestResult:
        """Send an event of type `webhook.test` now, outside of the queue."""
        courier = self._find(name)
        now = self._now()
        body = msgspec.json.encode({"type": "webhook.test", "timestamp": iso_time(now), "data": {"endpoint": name}})
        started = trio.current_time()
        attempt = await courier.post(self._new_id(), body)
        taken = int((trio.current_time() - started) * 1000)
        return TestResult(status=attempt.status, error=attempt.error, milliseconds=taken)

    async def enable(self, name: str) -> None:
        """Send to an endpoint again that had said it is gone."""
        await self._find(name).enable()

    async def _state(self, courier: Courier) -> EndpointState:
        counts = await self._jobs.counts(courier.route.queue)
        return EndpointState(
            name=courier.route.name,
            url=courier.endpoint.url,
            events=courier.endpoint.events,
            namespaces=courier.endpoint.namespaces,
            gone=await courier.is_gone(),
            waiting=counts.waiting + counts.claimed,
            dead=counts.dead,
        )

    def _find(self, name: str) -> Courier:
        courier = self._couriers.get(name)
        if courier is None:
            raise UnknownEndpoint(f"there is no endpoint {name!r}")
        return courier

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _letter(job: Job) -> DeadLetter:
    return DeadLetter(
        letter=job.job_id,
        request=job.key,
        at=job.created_at,
        attempts=job.attempts,
        error=job.error,
        body=msgspec.Raw(job.body),
    )
