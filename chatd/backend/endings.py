"""Messages with a time to live: when it is over, their place stays and what they said is gone.

What is to be forgotten is noted in the queue of jobs before the message is published, so that a crash in between costs
only a job that finds nothing. A live event, or one that waits for a slow reader, is not taken back: it was delivered.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from chatd.backend.due import do_what_is_due
from chatd.broker import Draft
from chatd.config import Backend
from chatd.intervals import work_every
from protocol.names import ChannelName, UserId
from storage.jobs import Job, JobQueue, NewJob

QUEUE = "endings"
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
        await work_every(self._config.tick_seconds, self.work, _log, "messages whose time is over cannot be ended")

    async def work(self) -> None:
        """End everything that is due now."""
        await do_what_is_due(self._jobs, QUEUE, self._end_all, now=self._now, at_once=self._config.jobs_at_once)

    async def _end_all(self, jobs: Sequence[Job]) -> None:
        ended = [job for job in jobs if await self._end(job)]
        if ended:
            await self._jobs.finish(ended)

    async def _end(self, job: Job) -> bool:
        channel, sender, key = msgspec.msgpack.decode(job.body, type=tuple[ChannelName, UserId, str])
        if await self.broker.forget(channel, sender, key):
            return True
        await self._jobs.retry(job, due=self._now() + _AGAIN_MS, error="it is being stored")
        return False

    def _now(self) -> int:
        return int(self._clock() * 1000)
