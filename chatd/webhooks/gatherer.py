"""From what happens on this node to the durable queue: events of a moment are put into it together.

Theory of operation. `tell` appends to a list and returns. A task waits until there is something, then for
`webhooks.gather_seconds`, and turns the list into jobs: for each endpoint and lane the body of one request, or of a few
if there are too many events for one. A job is a request, and its id the same for every attempt; a lane's jobs are done
one after the other. So what happens to a user, or in a channel, is told in its order, however often something fails.

A store that is away holds up the task, not those who call `tell`: the list grows to `webhooks.gather_events` or
`gather_bytes`, and what comes then is counted and dropped. So is what comes for an endpoint whose queue is full. A
crash of the node loses what is in the list.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from chatd.config import Webhooks
from chatd.webhooks.events import Happened, write, write_batch
from chatd.webhooks.routes import Route, Routes
from storage import StoreBusy, StoreError
from storage.jobs import JobQueue, NewJob

# Events that are written out before other tasks get their turn: about five milliseconds.
_SLICE = 1000
# Pause after the queue refused: it is full or away, which no hurry changes.
_REFUSED_SECONDS = 1.0
# On the way out the queue gets this long to take the last events.
_LAST_SECONDS = 5.0

_log = structlog.get_logger("webhooks")


class Along(Protocol):
    """Has jobs of its own that are kept together with the events told so far: all of them, or none."""

    def take(self) -> list[NewJob]:
        """Return the jobs that belong to what was told until now, and begin anew."""

    async def kept(self) -> None:
        """Go on: what was taken is in the queue."""


class Gatherer:
    """Collects events and puts them into the queue."""

    def __init__(
        self,
        config: Webhooks,
        routes: Routes,
        jobs: JobQueue,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        on_put: Callable[[], None],
    ) -> None:
        self._config = config
        self._routes = routes
        self._jobs = jobs
        self._clock = clock  # Unix seconds
        self._new_id = new_id
        self._on_put = on_put
        self.along: Along | None = None
        self._events: list[Happened] = []
        self._bytes = 0
        self._something = trio.Event()
        self._turn = trio.Lock()  # puts are made one after the other
        # What a put was begun with: it is repeated as it is, with the same ids, until the queue has it.
        self._packed: list[tuple[int, NewJob]] = []  # each with how many events it has
        self._packed_events = 0
        self._fails = False
        self.queued = 0
        self.dropped: defaultdict[str, int] = defaultdict(int)

    @property
    def waiting(self) -> int:
        """How many events are not in the queue yet."""
        return len(self._events) + self._packed_events

    def tell(self, event: Happened, size: int = 0) -> None:
        """Take an event; never waits, never raises. Dropped if too many wait already.

        `size` are the bytes of the application's that it carries.
        """
        if self.waiting >= self._config.gather_events or self._bytes + size > self._config.gather_bytes:
            self._drop("full", 1)
            return
        self._bytes += size
        self._events.append(event)
        if len(self._events) == 1:
            self._something.set()

    def look(self) -> None:
        """Put what `along` has into the queue, with or without events."""
        self._something.set()

    async def run(self) -> None:
        """Put what is told into the queue, until cancelled; then what is left."""
        try:
            while True:
                await self._something.wait()
                await trio.sleep(self._config.gather_seconds)
                await self.flush()
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self.flush()
            if self.waiting:
                self._drop("stopped", self.waiting)

    async def flush(self) -> None:
        """Put everything told so far into the queue; return when it is kept. Waits as long as the store is away."""
        async with self._turn:
            while self._packed or self._take():
                await self._put()
                self._packed, self._packed_events = [], 0
                self._on_put()
                if self.along is not None:
                    await self.along.kept()

    def _take(self) -> bool:
        """Turn what was told, or a slice of it, into jobs; tell whether there are any."""
        self._something = trio.Event()
        events, self._events = self._events[:_SLICE], self._events[_SLICE:]
        extra: list[NewJob] = []
        if not self._events:
            # With the last slice: a crash before it tells what was in the others again, with the same ids.
            self._bytes = 0
            extra = self.along.take() if self.along is not None else []
        self._packed = [*self._pack(events), *((0, job) for job in extra)]
        self._packed_events = len(events)
        return bool(self._packed or self._events)

    async def _put(self) -> None:
        """Return when the queue has taken what is packed, however long the store is away."""
        while True:
            try:
                await self._put_once()
            except StoreError as error:
                if not self._fails:
                    self._fails = True
                    _log.error("webhooks cannot be queued", error=str(error), events=self.waiting)
                await trio.sleep(_REFUSED_SECONDS)
                continue
            if self._fails:
                self._fails = False
                _log.info("webhooks are queued again")
            return

    async def _put_once(self) -> None:
        if not self._packed:  # of a whole slice nothing was wanted
            await trio.lowlevel.checkpoint()
            return
        now = int(self._clock() * 1000)
        try:
            await self._jobs.put([job for _, job in self._packed], now=now)
            self.queued += sum(count for count, _ in self._packed)
        except StoreBusy:
            # Some endpoint's queue is full. The others get theirs all the same.
            by_queue: dict[str, list[tuple[int, NewJob]]] = {}
            for count, job in self._packed:
                by_queue.setdefault(job.queue, []).append((count, job))
            for packed in by_queue.values():
                events = sum(count for count, _ in packed)
                try:
                    await self._jobs.put([job for _, job in packed], now=now)
                    self.queued += events
                except StoreBusy:
                    self._drop("queue_full", events)

    def _drop(self, cause: str, count: int) -> None:
        if not self.dropped[cause]:
            _log.warning("webhook events are dropped", cause=cause)
        self.dropped[cause] += count

    # From events to requests.

    def _pack(self, events: list[Happened]) -> list[tuple[int, NewJob]]:
        """Return the jobs of some events, in their order within each lane, and how many events each has."""
        lanes: dict[tuple[Route, str], list[bytes]] = {}
        for event in events:
            written = b""
            for route in self._routes.all:
                if not route.wants(event):
                    continue
                if route.is_gone:
                    self._drop("gone", 1)
                    continue
                written = written or write(event)
                lanes.setdefault((route, route.lane(event.subject)), []).append(written)
        now = int(self._clock() * 1000)
        return [
            (count, NewJob(queue=route.queue, body=body, due=now, lane=lane, key=self._new_id()))
            for (route, lane), items in lanes.items()
            for count, body in self._bodies(route, items, now)
        ]

    def _bodies(self, route: Route, items: list[bytes], now: int) -> list[tuple[int, bytes]]:
        """Cut what one lane gets into requests, bounded by count and by bytes; return each with its events' count."""
        if route.batch_events == 1:
            return [(1, item) for item in items]
        bodies = []
        part: list[bytes] = []
        size = 0
        for item in items:
            if part and (len(part) >= route.batch_events or size + len(item) > self._config.batch_bytes):
                bodies.append((len(part), write_batch(part, now)))
                part, size = [], 0
            part.append(item)
            size += len(item)
        bodies.append((len(part), write_batch(part, now)))
        return bodies
