"""Messages with a time to live: when it is over, their place stays and what they said is gone.

What is to be forgotten is noted in the queue of jobs before the message is published, so that a crash in between costs
only a job that finds nothing. A live event, or one that waits for a slow reader, is not taken back: it was delivered.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from chatd.broker import Draft
from chatd.config import Backend
from protocol.names import ChannelName, UserId
from storage import StoreError
from storage.jobs import Job, JobQueue, NewJob

QUEUE = "endings"
_LEASE_MS = 30_000
_AGAIN_MS = 1_000

_log = structlog.get_logger("backend")


class Forgetting(Protocol):
    """Empties kept messages: a broker."""

    async def forget(self, channel: ChannelName, sender: UserId, key: str) -> bool:
        """Empty the message of this sender and key, in memory and store; its place stays, with kind "expired".

        Returns False if it is being stored at the moment, and must be asked for again. Nothing happens if there is
        no such message.
        """


class Endings:
    """Notes when messages end, and ends them."""

    def __init__(self, jobs: JobQueue, config: Backend, clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._config = config
        self._clock = clock  # Unix seconds
        self.broker: Forgetting  # set by the node

    async def note(self, drafts: Sequence[tuple[Draft, int]]) -> None:
        """Remember, durably, when each of these is to be forgotten (Unix milliseconds)."""
        await self._jobs.put(
            [
                NewJob(
                    queue=QUEUE,
                    body=msgspec.msgpack.encode((draft.channel, draft.sender, draft.key)),
                    due=ends,
                    key=f"{draft.sender} {draft.key}",
                )
                for draft, ends in drafts
            ],
            now=self._now(),
        )

    async def run(self) -> None:
        """End what is due, until cancelled. A store that fails is asked again at the next tick."""
        is_failing = False
        while True:
            await trio.sleep(self._config.tick_seconds)
            try:
                await self.work()
                is_failing = False
            except StoreError as error:
                if not is_failing:
                    _log.warning("messages whose time is over cannot be ended", error=str(error))
                is_failing = True

    async def work(self) -> None:
        """End everything that is due now."""
        limit = self._config.jobs_at_once
        while True:
            jobs = await self._jobs.claim(QUEUE, now=self._now(), lease_ms=_LEASE_MS, limit=limit)
            ended = [job for job in jobs if await self._end(job)]
            if ended:
                await self._jobs.finish(ended)
            if len(jobs) < limit:
                return

    async def _end(self, job: Job) -> bool:
        channel, sender, key = msgspec.msgpack.decode(job.body, type=tuple[ChannelName, UserId, str])
        if await self.broker.forget(channel, sender, key):
            return True
        await self._jobs.retry(job, due=self._now() + _AGAIN_MS, error="it is being stored")
        return False

    def _now(self) -> int:
        return int(self._clock() * 1000)
