"""Events go into the queue together, in order, within bounds, and never hold anybody up."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints

from chatd.config import EventType, WebhookEndpoint, Webhooks
from chatd.webhooks.events import Happened, Moderation
from chatd.webhooks.gatherer import Gatherer
from chatd.webhooks.routes import Routes
from storage import StoreUnavailable
from storage.jobs import NewJob
from tests.fakes.memory_jobs import MemoryJobs

ALL: tuple[EventType, ...] = ("moderation.removed", "moderation.revoked")


def endpoint(**keys: Any) -> WebhookEndpoint:
    return msgspec.structs.replace(WebhookEndpoint(url="https://a.example/", events=ALL, concurrency=1), **keys)


def happened(name: str, subject: str = "alice", type_: EventType = "moderation.removed") -> Happened:
    return Happened(name, type_, 1, subject, Moderation(user=subject))


class Bed:
    """A gatherer over a queue in memory."""

    def __init__(self, jobs: MemoryJobs, config: Webhooks | None = None, **endpoints: WebhookEndpoint) -> None:
        self.jobs = jobs
        self.wakes = 0
        ids: Iterator[int] = count(1)
        self.routes = Routes(endpoints or {"a": endpoint()})
        self.gatherer = Gatherer(
            config or Webhooks(gather_seconds=0.05),
            self.routes,
            jobs,
            trio.current_time,
            lambda: f"id{next(ids)}",
            self._wake,
        )

    def _wake(self) -> None:
        self.wakes += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gatherer]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.gatherer.run)
            yield self.gatherer
            nursery.cancel_scope.cancel()

    async def queued(self, name: str = "a") -> list[list[str]]:
        """Return the ids of the events of each queued request."""
        jobs = await self.jobs.pending(f"webhook:{name}", limit=1000)
        bodies = [json.loads(job.body) for job in jobs]
        return [[event["id"] for event in body["data"].get("events", [body])] for body in bodies]

    async def all_queued(self, name: str = "a") -> list[str]:
        """Return the ids of all queued events."""
        return [event for request in await self.queued(name) for event in request]


async def test_what_comes_within_a_moment_goes_into_the_queue_together(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs())
    async with bed.running() as gatherer:
        gatherer.tell(happened("one"))
        await trio.sleep(0.04)
        gatherer.tell(happened("two"))
        await trio.sleep(0.02)
        assert await bed.queued() == [["one", "two"]]
        gatherer.tell(happened("three"))
        await trio.sleep(0.06)
    assert await bed.queued() == [["one", "two"], ["three"]]
    assert len(bed.jobs.puts) == 2
    assert bed.wakes == 2
    assert gatherer.queued == 3


async def test_telling_never_waits() -> None:
    bed = Bed(MemoryJobs())
    with assert_no_checkpoints():
        for number in range(100):
            bed.gatherer.tell(happened(str(number)))
    assert bed.gatherer.waiting == 100


async def test_requests_are_cut_by_count_and_by_bytes(autojump_clock: MockClock) -> None:
    counted = Bed(MemoryJobs(), a=endpoint(batch_events=2))
    for number in range(5):
        counted.gatherer.tell(happened(str(number)))
    await counted.gatherer.flush()
    assert await counted.queued() == [["0", "1"], ["2", "3"], ["4"]]

    weighed = Bed(MemoryJobs(), Webhooks(batch_bytes=300))
    for number in range(5):
        weighed.gatherer.tell(happened(str(number)))
    await weighed.gatherer.flush()
    assert [len(ids) for ids in await weighed.queued()] == [2, 2, 1]


async def test_an_endpoint_that_takes_one_at_a_time_gets_plain_events(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs(), a=endpoint(batch_events=1))
    bed.gatherer.tell(happened("one"))
    bed.gatherer.tell(happened("two"))
    await bed.gatherer.flush()
    [first, _] = await bed.jobs.pending("webhook:a", limit=10)
    assert json.loads(first.body)["type"] == "moderation.removed"


async def test_each_endpoint_gets_what_it_wants_in_lanes_of_its_own(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs(), a=endpoint(concurrency=4), b=endpoint(events=("moderation.revoked",)))
    for number in range(20):
        bed.gatherer.tell(happened(f"x{number}", f"user{number % 5}"))
    bed.gatherer.tell(happened("y", type_="moderation.revoked"))
    await bed.gatherer.flush()
    assert await bed.queued("b") == [["y"]]
    of_a = await bed.queued("a")
    assert sorted(await bed.all_queued("a")) == sorted([f"x{number}" for number in range(20)] + ["y"])
    for user in range(5):  # each user's events are in one request, in order
        own = [f"x{number}" for number in range(20) if number % 5 == user]
        assert [ids for ids in of_a if set(own) & set(ids)] == [ids for ids in of_a if set(own) <= set(ids)]
        assert [each for ids in of_a for each in ids if each in own] == own


async def test_a_store_that_is_away_loses_nothing_that_there_is_room_for(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs(), Webhooks(gather_events=5))
    bed.jobs.error = StoreUnavailable("away")
    async with bed.running() as gatherer:
        for number in range(4):
            gatherer.tell(happened(str(number)))
            await trio.sleep(1)
        for number in range(4, 8):
            gatherer.tell(happened(str(number)))
        assert gatherer.waiting == 5
        assert dict(gatherer.dropped) == {"full": 3}
        bed.jobs.error = None
        await trio.sleep(3)
    assert await bed.all_queued() == ["0", "1", "2", "3", "4"]


async def test_bytes_are_bounded_too() -> None:
    bed = Bed(MemoryJobs(), Webhooks(gather_bytes=1000))
    for number in range(5):
        bed.gatherer.tell(happened(str(number)), 400)
    assert bed.gatherer.waiting == 2
    assert bed.gatherer.dropped["full"] == 3


async def test_a_put_that_is_repeated_has_the_same_ids(autojump_clock: MockClock) -> None:
    """The store may have kept what it reported as failed: the key is then known."""
    bed = Bed(MemoryJobs())
    real_put = bed.jobs.put
    calls = 0

    async def put_and_fail(jobs: list[NewJob], *, now: int) -> int:
        nonlocal calls
        calls += 1
        await real_put(jobs, now=now)
        if calls == 1:
            raise StoreUnavailable("kept or not")
        return 0

    bed.jobs.put = put_and_fail  # type: ignore[method-assign,assignment]
    bed.gatherer.tell(happened("one"))
    await bed.gatherer.flush()
    assert calls == 2
    assert await bed.queued() == [["one"]]


async def test_one_full_queue_does_not_keep_the_others_from_theirs(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs(waiting=1)
    bed = Bed(jobs, a=endpoint(), b=endpoint(events=("moderation.revoked",)))
    bed.gatherer.tell(happened("one"))
    await bed.gatherer.flush()
    bed.gatherer.tell(happened("two"))
    bed.gatherer.tell(happened("three", type_="moderation.revoked"))
    await bed.gatherer.flush()
    assert await bed.queued("a") == [["one"]]
    assert await bed.queued("b") == [["three"]]
    assert dict(bed.gatherer.dropped) == {"queue_full": 2}  # "three" was for both


async def test_nothing_is_queued_for_an_endpoint_that_is_gone(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs())
    bed.routes.all[0].is_gone = True
    bed.gatherer.tell(happened("one"))
    await bed.gatherer.flush()
    assert await bed.queued() == []
    assert dict(bed.gatherer.dropped) == {"gone": 1}


async def test_what_is_left_at_the_end_goes_into_the_queue(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs())
    async with bed.running() as gatherer:
        await trio.sleep(1)
        gatherer.tell(happened("last"))
    assert await bed.queued() == [["last"]]


async def test_the_end_does_not_wait_for_a_store_that_is_away(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs())
    bed.jobs.error = StoreUnavailable("away")
    with trio.fail_after(60):
        async with bed.running() as gatherer:
            gatherer.tell(happened("last"))
            await trio.sleep(10)
    assert dict(gatherer.dropped) == {"stopped": 1}


@pytest.mark.parametrize("subject", ["", "a" * 1000, "☎"])
async def test_any_subject_has_a_lane(autojump_clock: MockClock, subject: str) -> None:
    bed = Bed(MemoryJobs())
    bed.gatherer.tell(happened("one", subject))
    await bed.gatherer.flush()
    assert await bed.queued() == [["one"]]


async def test_very_many_events_are_written_in_slices_and_none_is_lost(autojump_clock: MockClock) -> None:
    bed = Bed(MemoryJobs(), a=endpoint(batch_events=1000))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    names = [str(number) for number in range(5500)]
    for name in names:
        bed.gatherer.tell(happened(name))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await bed.gatherer.flush()
        nursery.cancel_scope.cancel()
    assert await bed.all_queued() == names
    assert turns >= 6
    assert bed.gatherer.waiting == 0
