"""Takes the queued requests of one endpoint there, as many at a time as it may have, until each is done or given up.

Nodes that share a queue may all do this: a job is claimed by one of them at a time, and of each lane only one is.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog
import trio

from chatd import __version__
from chatd.config import WebhookEndpoint, Webhooks
from chatd.counters import Latency
from chatd.outbound.client import Poster, PostFailed
from chatd.webhooks.routes import Route
from chatd.webhooks.signing import Signer
from chatd.webhooks.verdict import Attempt, Fate, Verdict, judge
from storage import StoreError
from storage.jobs import Job, JobQueue

# A claim lasts this much longer than the request may take: time to tell the queue what became of it.
_LEASE_MARGIN_SECONDS = 5.0
# On the way out, time to give back what was under way.
_LAST_SECONDS = 2.0
# An endpoint that is gone is looked after this often: it may have been enabled by another process.
_GONE_SECONDS = 30.0

HEADERS = {"Content-Type": "application/json", "User-Agent": f"chatd/{__version__}"}

_log = structlog.get_logger("webhooks")


class Meta(Protocol):
    """Keeps small named values."""

    async def get_meta(self, name: str) -> str | None:
        """Return a value."""

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or (None) remove a value."""


class Courier:
    """Delivers to one endpoint."""

    def __init__(
        self,
        config: Webhooks,
        endpoint: WebhookEndpoint,
        route: Route,
        jobs: JobQueue,
        store: Meta,
        client: Poster,
        signer: Signer,
        clock: Callable[[], float],
        chance: Callable[[], float],
        latency: Latency,
    ) -> None:
        self.endpoint = endpoint
        self.route = route
        self.signer = signer
        self.outcomes: defaultdict[str, int] = defaultdict(int)  # requests, by what became of them
        self.latency = latency
        self._config = config
        self._jobs = jobs
        self._store = store
        self._client = client
        self._clock = clock  # Unix seconds
        self._chance = chance
        self._busy = 0
        self._done: list[Job] = []  # delivered, and the queue does not know it yet; no more than there are lanes
        self._wake = trio.Event()
        self._fails = False
        self._down = False

    def wake(self) -> None:
        """Look into the queue now: there is something new."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled. What is under way then goes back into the queue."""
        await self._remember_gone()
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._wake = trio.Event()
                    await self._finish()
                    await self._look(nursery)
                    with trio.move_on_after(self._config.poll_seconds):
                        await self._wake.wait()
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self._finish()
            await self.aclose()

    async def _finish(self) -> None:
        """Tell the queue what was delivered, all of it in one step; what it does not take now, the next time."""
        done, self._done = self._done, []
        if not done:
            return
        try:
            await self._jobs.finish(done)
        except StoreError as error:
            self._note_queue(error)
            self._done = done + self._done

    async def _look(self, nursery: trio.Nursery) -> None:
        """Begin what may begin now."""
        if self.route.is_gone:
            await self._stay_gone()
        elif self._busy < self.endpoint.concurrency:
            for job in await self._claim():
                self._busy += 1
                nursery.start_soon(self._take, job)

    async def aclose(self) -> None:
        """Close the connections; `run` does it at its end."""
        with trio.CancelScope(shield=True):
            await self._client.aclose()

    async def post(self, message_id: str, body: bytes) -> Attempt:
        """Make one signed request."""
        headers = HEADERS | self.signer.headers(message_id, int(self._clock()), body)
        try:
            answer = await self._client.post(
                self.endpoint.url,
                body,
                headers,
                seconds=self.endpoint.timeout_seconds,
                answer_bytes=self._config.answer_bytes,
            )
        except PostFailed as error:
            return Attempt(None, {}, str(error))
        return Attempt(answer.status, answer.headers, "")

    async def is_gone(self) -> bool:
        """Tell whether the endpoint said that it is gone, to whichever process, and was not enabled since."""
        return await self._store.get_meta(self._gone_name) == self.endpoint.url

    async def enable(self) -> None:
        """Send to the endpoint again after it said that it is gone."""
        await self._store.put_meta(self._gone_name, None)
        self.route.is_gone = False
        self.wake()

    # One request.

    async def _claim(self) -> list[Job]:
        lease = self.endpoint.timeout_seconds + _LEASE_MARGIN_SECONDS
        free = self.endpoint.concurrency - self._busy
        try:
            jobs = await self._jobs.claim(self.route.queue, now=self._now(), lease_ms=int(lease * 1000), limit=free)
        except StoreError as error:
            self._note_queue(error)
            return []
        self._note_queue(None)
        return jobs

    async def _take(self, job: Job) -> None:
        try:
            started = trio.current_time()
            attempt = await self._attempt(job)
            self.latency.observe(trio.current_time() - started)
            verdict = judge(
                attempt,
                self._config,
                attempts=job.attempts,
                created_at=job.created_at,
                now=self._now(),
                chance=self._chance(),
            )
            self._note_verdict(job, verdict)
            with suppress(StoreError):  # the claim ends by itself, and the request is made again with the same id
                await self._settle(job, verdict)
        except trio.Cancelled:
            with trio.move_on_after(_LAST_SECONDS, shield=True), suppress(StoreError):
                await self._jobs.retry(job, due=self._now(), error="the node stopped")
            raise
        finally:
            self._busy -= 1
            self.wake()

    async def _attempt(self, job: Job) -> Attempt:
        try:
            return await self.post(job.key, job.body)
        except Exception as error:
            # A fault of a library on this one request must end neither the node nor the endpoint.
            _log.exception("webhook failed", endpoint=self.route.name)
            return Attempt(None, {}, type(error).__name__)

    async def _settle(self, job: Job, verdict: Verdict) -> None:
        match verdict.fate:
            case Fate.DELIVERED:
                self._done.append(job)
            case Fate.AGAIN:
                await self._jobs.retry(job, due=verdict.due, error=verdict.error)
            case Fate.DEAD:
                await self._jobs.bury(job, error=verdict.error)
            case Fate.GONE:
                self.route.is_gone = True
                await self._jobs.bury(job, error=verdict.error)
                await self._store.put_meta(self._gone_name, self.endpoint.url)

    # Gone endpoints.

    @property
    def _gone_name(self) -> str:
        return f"webhooks.gone.{self.route.name}"

    async def _remember_gone(self) -> None:
        """Take up what an earlier process was told, if the URL is still the same."""
        with suppress(StoreError):
            self.route.is_gone = await self.is_gone()

    async def _stay_gone(self) -> None:
        """Make dead letters of what waits for an endpoint that is gone, and look whether it was enabled."""
        for job in await self._claim():
            with suppress(StoreError):
                await self._jobs.bury(job, error="the endpoint is gone (410)")
                self.outcomes["dead"] += 1
                self.wake()
        if not self._wake.is_set():
            with trio.move_on_after(_GONE_SECONDS):
                await self._wake.wait()
            await self._remember_gone()

    # What is said about it.

    def _note_verdict(self, job: Job, verdict: Verdict) -> None:
        """Count, and write a line when the endpoint begins to fail, when it works again, and for every dead letter."""
        self.outcomes[_OUTCOMES[verdict.fate]] += 1
        name = self.route.name
        match verdict.fate:
            case Fate.DELIVERED:
                if self._fails:
                    _log.info("webhook endpoint works again", endpoint=name)
                self._fails = False
            case Fate.AGAIN:
                if not self._fails:
                    _log.warning("webhook endpoint fails", endpoint=name, error=verdict.error)
                self._fails = True
            case Fate.DEAD:
                _log.warning("webhook given up", endpoint=name, request=job.key, error=verdict.error)
            case Fate.GONE:
                _log.warning("webhook endpoint is gone, nothing more is sent to it", endpoint=name)

    def _note_queue(self, error: StoreError | None) -> None:
        if error is not None and not self._down:
            _log.error("the queue of webhooks cannot be read", endpoint=self.route.name, error=str(error))
        self._down = error is not None

    def _now(self) -> int:
        return int(self._clock() * 1000)


_OUTCOMES = {Fate.DELIVERED: "delivered", Fate.AGAIN: "failed", Fate.DEAD: "dead", Fate.GONE: "gone"}
