"""Each departure is told once: in one life of the node, over restarts, and over crashes at any moment."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, cast

import trio
from trio.testing import MockClock

from chatd.config import WebhookEndpoint, Webhooks
from chatd.webhooks.departures import PRESENT_QUEUE, TOLD_QUEUE, Departures, SharedDepartures, forget_stays
from chatd.webhooks.gatherer import Gatherer
from chatd.webhooks.routes import Routes
from protocol.codes import CloseCode
from protocol.names import UserId
from storage import Store, StoreError, StoreUnavailable
from tests.fakes.memory_jobs import MemoryJobs

ALICE, BOB = UserId("alice"), UserId("bob")
IDS: Iterator[int] = count(1)


class SeenStore:
    """Knows when users were last seen."""

    def __init__(self) -> None:
        self.seen: dict[UserId, int] = {}
        self.error: StoreError | None = None

    async def last_seen(self, users: Sequence[UserId]) -> Mapping[UserId, int]:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return {user: self.seen[user] for user in users if user in self.seen}


class Process:
    """One life of a node, over a queue that outlives it."""

    def __init__(self, jobs: MemoryJobs, store: SeenStore | None = None) -> None:
        routes = Routes(
            {"a": WebhookEndpoint(url="https://a.example/", events=("user.offline",), concurrency=1, batch_events=1)}
        )
        self.jobs = jobs
        self.gatherer = Gatherer(
            Webhooks(), routes, jobs, trio.current_time, lambda: f"request{next(IDS)}", lambda: None
        )
        self.departures = Departures(
            jobs, cast(Store, store or SeenStore()), self.gatherer, trio.current_time, lambda: f"stay{next(IDS)}"
        )
        self.gatherer.along = self.departures

    async def flush(self) -> None:
        await self.gatherer.flush()

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(job.body)["data"] for job in await self.jobs.pending("webhook:a", limit=100)]

    async def notes(self) -> tuple[int, int]:
        present = await self.jobs.counts(PRESENT_QUEUE)
        told = await self.jobs.counts(TOLD_QUEUE)
        return present.waiting, told.waiting


async def test_a_departure_is_told_with_the_reason_of_the_last_session(autojump_clock: MockClock) -> None:
    process = Process(MemoryJobs())
    process.departures.session_opened(ALICE)
    process.departures.session_opened(ALICE)
    process.departures.session_closed(ALICE, "first", CloseCode.NORMAL)
    process.departures.session_closed(ALICE, "second", CloseCode.NO_PONG)
    await process.flush()
    process.departures.departed(ALICE, 123)
    await process.flush()
    assert await process.told() == [
        {"user": "alice", "last_seen": 123, "session": "second", "code": 4002, "reason": "no_pong"}
    ]
    assert await process.notes() == (0, 0)


async def test_a_departure_is_told_once_and_the_next_one_again(autojump_clock: MockClock) -> None:
    process = Process(MemoryJobs())
    for _ in range(2):
        process.departures.session_opened(ALICE)
        process.departures.session_closed(ALICE, "s", None)
        process.departures.departed(ALICE, 1)
        process.departures.departed(ALICE, 1)
    await process.flush()
    assert [told["reason"] for told in await process.told()] == ["lost", "lost"]


async def test_who_comes_and_goes_within_a_moment_leaves_no_note(autojump_clock: MockClock) -> None:
    process = Process(MemoryJobs())
    process.departures.session_opened(ALICE)
    process.departures.departed(ALICE, 1)
    await process.flush()
    assert len(await process.told()) == 1
    assert await process.notes() == (0, 0)


async def test_who_was_there_when_the_node_died_is_told_about_after_the_next_start(autojump_clock: MockClock) -> None:
    jobs, store = MemoryJobs(), SeenStore()
    first = Process(jobs)
    for user in (ALICE, BOB):
        first.departures.session_opened(user)
    await first.flush()

    store.seen[ALICE] = 777
    second = Process(jobs, store)
    await second.departures.start()
    second.departures.session_opened(BOB)  # is back in the grace time
    await second.departures.tell_missing()
    assert await second.told() == [
        {"user": "alice", "last_seen": 777, "session": "", "code": None, "reason": "restarted"}
    ]
    assert await second.notes() == (1, 0)

    second.departures.session_closed(BOB, "s", CloseCode.NORMAL)
    second.departures.departed(BOB, 888)
    await second.flush()
    third = Process(jobs, store)
    await third.departures.start()
    await third.departures.tell_missing()
    assert [told["user"] for told in await third.told()] == ["alice", "bob"]


async def test_a_store_that_does_not_know_when_users_were_seen_costs_only_that(autojump_clock: MockClock) -> None:
    jobs, store = MemoryJobs(), SeenStore()
    first = Process(jobs)
    since = int(trio.current_time() * 1000)
    first.departures.session_opened(ALICE)
    await first.flush()
    store.error = StoreUnavailable("away")
    second = Process(jobs, store)
    await second.departures.start()
    await second.departures.tell_missing()
    [told] = await second.told()
    assert told["last_seen"] == since  # when the stay began


async def test_a_crash_between_telling_and_removing_the_notes_tells_nothing_twice(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs()
    first = Process(jobs)
    first.departures.session_opened(ALICE)
    await first.flush()
    first.departures.departed(ALICE, 1)

    async def no_more(queue: str, keys: Sequence[str]) -> int:
        raise StoreUnavailable("killed here")

    jobs.cancel = no_more  # type: ignore[method-assign]
    await first.flush()
    assert await first.notes() == (1, 1)

    del jobs.cancel
    second = Process(jobs)
    await second.departures.start()
    await second.departures.tell_missing()
    assert len(await second.told()) == 1
    assert await second.notes() == (0, 0)


async def test_a_crash_before_anything_was_put_tells_it_after_the_start(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs()
    first = Process(jobs)
    first.departures.session_opened(ALICE)
    await first.flush()
    first.departures.departed(ALICE, 1)  # and killed before the flush
    second = Process(jobs)
    await second.departures.start()
    await second.departures.tell_missing()
    assert [told["reason"] for told in await second.told()] == ["restarted"]


async def test_the_event_and_its_note_are_put_in_one_step(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs()
    process = Process(jobs)
    process.departures.session_opened(ALICE)
    await process.flush()
    process.departures.departed(ALICE, 1)
    await process.flush()
    queues: list[list[str]] = [sorted(job.queue for job in put) for put in jobs.puts]
    assert queues == [[PRESENT_QUEUE], ["webhook:a", TOLD_QUEUE]]


async def test_very_many_who_did_not_come_back_are_told_about_in_parts(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs()
    first = Process(jobs)
    users = [UserId(f"user{number}") for number in range(1234)]
    for user in users:
        first.departures.session_opened(user)
    await first.flush()
    second = Process(jobs)
    await second.departures.start()
    await second.departures.tell_missing()
    told = [json.loads(job.body)["data"]["user"] for job in await jobs.pending("webhook:a", limit=10_000)]
    assert sorted(told) == sorted(users)
    assert second.gatherer.dropped == {}
    largest = max(len([job for job in put if job.queue == "webhook:a"]) for put in jobs.puts)
    assert largest <= 500


async def test_nodes_that_share_presence_tell_what_it_finds(autojump_clock: MockClock) -> None:
    process = Process(MemoryJobs())
    shared = SharedDepartures(process.gatherer, trio.current_time)
    shared.session_opened(ALICE)
    shared.session_closed(ALICE, "s", CloseCode.NORMAL)
    shared.departed(ALICE, 5)
    shared.departed(BOB, 6)  # of a node that died
    await process.flush()
    assert [(told["user"], told["session"], told["reason"]) for told in await process.told()] == [
        ("alice", "s", "normal"),
        ("bob", "", "lost"),
    ]


async def test_a_node_that_tells_no_departures_forgets_the_notes(autojump_clock: MockClock) -> None:
    jobs = MemoryJobs()
    first = Process(jobs)
    for number in range(1500):
        first.departures.session_opened(UserId(f"user{number}"))
    await first.flush()
    await forget_stays(jobs)
    assert await first.notes() == (0, 0)
