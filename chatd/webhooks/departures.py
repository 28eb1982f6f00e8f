"""Users who went offline: each departure is told once, also when the node is restarted or killed meanwhile.

Theory of operation. A user who comes gets a *stay*, with an id of its own, and a marker in the durable queue. When the
grace time of presence is over the stay ends: the event, and a note that it was told, are put into the queue in one
step; then marker and note are removed. What an earlier process left is read at the start. A marker with a note was
told about. A marker without one is a user whose departure nobody saw: whoever is not back when the grace time is over
is told about then. The event has the id of the stay, so a receiver that gets it twice knows it.

    came ──► marker ──► event + note (one step) ──► both removed
                │                │
    restart:    told after the   only removed
                grace time

This is for a node that keeps presence alone. Nodes that share it find each other's departures (chatd/cluster/), and
whichever of them tells of one says so here once: `SharedDepartures`.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from chatd.webhooks.events import Happened, UserOffline, reason_of
from chatd.webhooks.gatherer import Gatherer
from protocol.names import UserId
from storage import StoreError
from storage.jobs import Job, JobQueue, NewJob

PRESENT_QUEUE = "webhooks.present"
TOLD_QUEUE = "webhooks.told"

# What an earlier process left is read in pages.
_PAGE = 1000
# Departures found after a restart go into the queue in parts of this many.
_SLICE = 500

# How many ended sessions a node remembers whose users may be told about by another.
_REMEMBERED = 100_000

RESTARTED = "restarted"
"""The reason of a departure that happened while the node was away."""

_log = structlog.get_logger("webhooks")


class _Stay(msgspec.Struct):
    """One user's time online."""

    key: str
    since: int  # Unix ms
    is_kept: bool = False  # its marker is in the queue, or on its way there
    session: str = ""  # the one that ended last
    code: int | None = None
    reason: str = RESTARTED


class _Marker(msgspec.Struct, frozen=True):
    user: UserId
    since: int


class Departing(Protocol):
    """Tells of users who went offline. Every method returns at once."""

    def session_opened(self, user: UserId) -> None:
        """Note that the user is there."""

    def session_closed(self, user: UserId, session: str, code: int | None) -> None:
        """Note which session ended last, and how."""

    def departed(self, user: UserId, last_seen: int) -> None:
        """Tell that the user is offline; called by presence when the grace time is over."""


class LastSeen(Protocol):
    """Knows when users were last there."""

    async def last_seen(self, users: Sequence[UserId]) -> Mapping[UserId, int]:
        """Return it in Unix milliseconds; those never seen are left out."""


class Departures:
    """Knows who is there, and tells when they are not, for a node that keeps presence alone."""

    def __init__(
        self,
        jobs: JobQueue,
        store: LastSeen,
        gatherer: Gatherer,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._gatherer = gatherer
        self._clock = clock  # Unix seconds
        self._new_id = new_id
        self._stays: dict[UserId, _Stay] = {}
        self._missing: dict[UserId, None] = {}  # were there when the last process ended, and are not back
        self._new: dict[UserId, _Stay] = {}  # without a marker
        self._over: list[str] = []  # keys of stays that were told about
        self._removable: list[str] = []

    # Called by the hub and by presence.

    def session_opened(self, user: UserId) -> None:
        """Note that the user is there."""
        self._missing.pop(user, None)
        if user not in self._stays:
            self._new[user] = self._stays[user] = _Stay(self._new_id(), self._now())
            self._gatherer.look()

    def session_closed(self, user: UserId, session: str, code: int | None) -> None:
        """Note which session ended last, and how."""
        stay = self._stays.get(user)
        if stay is not None:
            stay.session, stay.code, stay.reason = session, code, reason_of(code)

    def departed(self, user: UserId, last_seen: int) -> None:
        """Tell that the user is offline, if this was not told."""
        stay = self._stays.pop(user, None)
        if stay is None:
            return
        self._missing.pop(user, None)
        self._new.pop(user, None)
        if stay.is_kept:
            self._over.append(stay.key)
        data = UserOffline(user=user, last_seen=last_seen, session=stay.session, code=stay.code, reason=stay.reason)
        self._gatherer.tell(Happened(f"offline/{stay.key}", "user.offline", self._now(), user, data))

    # Called by the gatherer.

    def take(self) -> list[NewJob]:
        """Return the markers of who came, and the notes of who was told about."""
        now = self._now()
        jobs = [NewJob(queue=TOLD_QUEUE, key=key, body=b"", due=now) for key in self._over]
        for user, stay in self._new.items():
            stay.is_kept = True
            body = msgspec.json.encode(_Marker(user, stay.since))
            jobs.append(NewJob(queue=PRESENT_QUEUE, key=stay.key, body=body, due=now))
        self._new.clear()
        self._removable += self._over
        self._over = []
        return jobs

    async def kept(self) -> None:
        """Remove the markers and notes of stays that were told about: first the markers."""
        keys, self._removable = self._removable, []
        if keys:
            await self._remove(keys)

    async def _remove(self, keys: Sequence[str]) -> None:
        try:
            await self._jobs.cancel(PRESENT_QUEUE, keys)
            await self._jobs.cancel(TOLD_QUEUE, keys)
        except StoreError as error:
            _log.warning("notes of departures are left for the next start", error=str(error), notes=len(keys))

    # After a restart.

    async def start(self) -> None:
        """Read who was there when the last process ended; before any session is opened."""
        told = {job.key async for job in self._all(TOLD_QUEUE)}
        async for job in self._all(PRESENT_QUEUE):
            if job.key not in told:
                marker = msgspec.json.decode(job.body, type=_Marker)
                self._stays[marker.user] = _Stay(job.key, marker.since, is_kept=True)
                self._missing[marker.user] = None
        if told:
            await self._remove(list(told))

    async def _all(self, queue: str) -> AsyncIterator[Job]:
        after = None
        while page := await self._jobs.pending(queue, after=after, limit=_PAGE):
            for job in page:
                yield job
            after = page[-1].job_id

    async def tell_missing(self) -> None:
        """Tell about all who did not come back. Called when the grace time after the start is over."""
        while users := list(self._missing)[:_SLICE]:
            seen = await self._last_seen(users)
            for user in users:
                if user in self._missing:  # not back while the store was asked
                    self.departed(user, seen.get(user, self._stays[user].since))
            await self._gatherer.flush()

    async def _last_seen(self, users: Sequence[UserId]) -> Mapping[UserId, int]:
        try:
            return await self._store.last_seen(users)
        except StoreError:
            return {}

    def _now(self) -> int:
        return int(self._clock() * 1000)


async def forget_stays(jobs: JobQueue) -> None:
    """Remove the notes of an earlier process that told of departures: nobody wants them any more.

    Were they kept until somebody does again, users who left in between would be told about then.
    """
    for queue in (PRESENT_QUEUE, TOLD_QUEUE):
        while page := await jobs.pending(queue, limit=_PAGE):
            await jobs.cancel(queue, [job.key for job in page])


class SharedDepartures:
    """Tells of departures that presence has found, for nodes that share it: it finds each of them once."""

    def __init__(self, gatherer: Gatherer, clock: Callable[[], float]) -> None:
        self._gatherer = gatherer
        self._clock = clock  # Unix seconds
        self._ended: OrderedDict[UserId, tuple[str, int | None]] = OrderedDict()

    def session_opened(self, user: UserId) -> None:
        """Forget how the user's last session ended."""
        self._ended.pop(user, None)

    def session_closed(self, user: UserId, session: str, code: int | None) -> None:
        """Remember how the session ended; beyond a bound the oldest are forgotten."""
        self._ended[user] = (session, code)
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def departed(self, user: UserId, last_seen: int) -> None:
        """Tell that the user is offline. Of a session on a node that is gone, only that it was lost is known."""
        session, code = self._ended.pop(user, ("", None))
        data = UserOffline(user=user, last_seen=last_seen, session=session, code=code, reason=reason_of(code))
        now = int(self._clock() * 1000)
        self._gatherer.tell(Happened(f"offline/{user}/{last_seen}", "user.offline", now, user, data))
