"""Sees every message of a channel that pushes, and makes jobs for members who are not looking.

It hangs behind delivery: `note` only appends to a list, and a task of its own does the rest when the turn is over. So
neither a sender's answer nor anybody's message waits for it. What a crash takes from that list was delivered and is in
the history, but members who were away are not told of it.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence

import structlog
import trio

from chatd.broker import Deliver, Draft, Routed
from chatd.config import Namespace, Push
from chatd.push.content import Content, content_of
from chatd.push.counts import PushCounts
from chatd.push.jobs import Plan, plan_job
from chatd.push.whereabouts import Whereabouts
from protocol.names import ChannelName, UserId
from storage import StoreBusy, StoreError
from storage.jobs import JobQueue, NewJob
from storage.records import StoredMessage

# Messages that are looked at before jobs are put: the members of one may be a thousand.
_BATCH = 200

_log = structlog.get_logger("push")


class PushWatch:
    """Turns messages into jobs."""

    def __init__(
        self,
        config: Push,
        rules: Callable[[ChannelName], Namespace],
        jobs: JobQueue,
        whereabouts: Whereabouts,
        counts: PushCounts,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._rules = rules
        self._jobs = jobs
        self._whereabouts = whereabouts
        self._counts = counts
        self._clock = clock  # Unix seconds
        self._noted: deque[tuple[StoredMessage, Collection[UserId]]] = deque()
        self._wake = trio.Event()
        self._failing = False
        self.on_put: Callable[[], None] = lambda: None
        """Called when there are new jobs."""

    @property
    def waiting_messages(self) -> int:
        """How many messages were noted and not looked at yet."""
        return len(self._noted)

    def note(self, message: StoredMessage, audience: Collection[UserId]) -> None:
        """Note a message that these users get. Called when it is delivered, once in all of the cluster; never waits."""
        if message.kind or not self._rules(message.channel).push:
            return
        if len(self._noted) >= self._config.waiting_messages:
            self._counts.lost["full"] += 1
            return
        self._noted.append((message, audience))
        self._wake.set()

    def tapped(self, deliver: Deliver) -> Deliver:
        """Return what delivers messages, and notes those of them that this node gave their places."""

        def deliver_and_note(placed: Sequence[tuple[StoredMessage, Routed]]) -> None:
            deliver(placed)
            for message, routed in placed:
                if routed.audience and isinstance(routed, Draft):
                    self.note(message, routed.audience)

        return deliver_and_note

    async def run(self) -> None:
        """Make jobs of what was noted, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._noted:
                batch = [self._noted.popleft() for _ in range(min(_BATCH, len(self._noted)))]
                try:
                    await self._put(await self._plan(batch))
                except StoreError as error:  # who is where could not be asked
                    self._fail(error)
                    self._counts.lost["store"] += len(batch)
                except Exception:
                    _log.exception("members who are away are not told of some messages")
                    self._counts.lost["fault"] += len(batch)

    async def _plan(self, batch: Sequence[tuple[StoredMessage, Collection[UserId]]]) -> list[NewJob]:
        """Return the jobs of these messages: for members who are not looking, the sender left out."""
        users = {user for message, audience in batch for user in audience if user != message.sender}
        looking = await self._whereabouts.looking(list(users))
        due = int((self._clock() + self._config.after_seconds) * 1000)
        jobs = []
        for message, audience in batch:
            away = [user for user in audience if user != message.sender and user not in looking]
            if not away:
                continue
            content = self._content(message)
            size = self._config.batch_users
            parts = [away[start : start + size] for start in range(0, len(away), size)]
            # A call does not wait for somebody to come back first.
            when = due if content.kind != "voip" else message.at
            jobs += [plan_job(Plan(content, part), number, when) for number, part in enumerate(parts)]
        return jobs

    def _content(self, message: StoredMessage) -> Content:
        return content_of(
            message,
            text_field=self._config.text_field,
            text_bytes=self._config.text_bytes,
            ttl_seconds=self._config.ttl_seconds,
            by_backends=self._rules(message.channel).write == "backend",
        )

    async def _put(self, jobs: list[NewJob]) -> None:
        """Keep jobs. While the queue is full or the store fails, `_noted` fills up to its bound."""
        while jobs:
            try:
                await self._jobs.put(jobs, now=int(self._clock() * 1000))
            except StoreError as error:
                self._fail(error)
                # Putting again what may have been put is harmless: the keys are the same.
                await trio.sleep(self._config.poll_seconds)
                if isinstance(error, StoreBusy) and len(self._noted) >= self._config.waiting_messages:
                    self._counts.lost["busy"] += len(jobs)
                    return
                continue
            self._failing = False
            self.on_put()
            return

    def _fail(self, error: StoreError) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("members who are away cannot be told now", error=str(error))
