"""Requests are made in order within a lane, again until they are taken, and never by a failure lost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import structlog
import trio
from trio.testing import MockClock

from chatd.config import WebhookEndpoint, Webhooks
from chatd.counters import Latency
from chatd.outbound.client import Answer, PostFailed
from chatd.webhooks.courier import Courier
from chatd.webhooks.routes import Route
from chatd.webhooks.signing import Signer, parse_key
from storage import Store, StoreUnavailable
from storage.jobs import Job, NewJob
from tests.fakes.memory_jobs import MemoryJobs
from tests.fakes.scripted_poster import ScriptedPoster
from tests.rig.webhook_receiver import SECRET

QUEUE = "webhook:a"
URL = "https://a.example/hook"


class MetaStore:
    """Keeps small values."""

    def __init__(self) -> None:
        self.meta: dict[str, str] = {}

    async def get_meta(self, name: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.meta.get(name)

    async def put_meta(self, name: str, value: str | None) -> None:
        await trio.lowlevel.checkpoint()
        if value is None:
            self.meta.pop(name, None)
        else:
            self.meta[name] = value


class Bed:
    """A courier over fakes."""

    def __init__(
        self,
        *,
        jobs: MemoryJobs | None = None,
        store: MetaStore | None = None,
        poll_seconds: float = 1.0,
        **keys: Any,
    ) -> None:
        self.jobs = jobs or MemoryJobs()
        self.store = store or MetaStore()
        self.poster = ScriptedPoster()
        endpoint = msgspec.structs.replace(WebhookEndpoint(url=URL, events=("user.offline",)), **keys)
        self.route = Route("a", endpoint)
        self.courier = Courier(
            Webhooks(poll_seconds=poll_seconds),
            endpoint,
            self.route,
            self.jobs,
            cast(Store, self.store),
            self.poster,
            Signer([parse_key(SECRET)]),
            trio.current_time,
            lambda: 1.0,
            Latency(),
        )

    async def put(self, *names: str, lane: str = "0") -> None:
        now = int(trio.current_time() * 1000)
        await self.jobs.put(
            [NewJob(queue=QUEUE, body=name.encode(), due=now, lane=lane, key=f"id-{name}") for name in names], now=now
        )
        self.courier.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bed"]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.courier.run)
            yield self
            nursery.cancel_scope.cancel()

    @property
    def bodies(self) -> list[str]:
        return [posted.body.decode() for posted in self.poster.posted]

    async def dead(self) -> list[Job]:
        return await self.jobs.dead(QUEUE, limit=100)


async def test_a_request_is_signed_and_taken_to_the_endpoint(autojump_clock: MockClock) -> None:
    async with Bed().running() as bed:
        await bed.put("one")
        await trio.sleep(0.5)
    [posted] = bed.poster.posted
    assert posted.url == URL
    assert posted.body == b"one"
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["User-Agent"].startswith("chatd/")
    assert posted.headers["webhook-id"] == "id-one"
    assert posted.headers["webhook-signature"].startswith("v1,")
    assert (await bed.jobs.counts(QUEUE)).waiting == 0
    assert bed.courier.outcomes == {"delivered": 1}
    assert bed.poster.is_closed


async def test_a_lane_is_in_order_and_lanes_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.seconds = 1.0
    async with bed.running():
        await bed.put("a1", "a2", "a3", lane="0")
        await bed.put("b1", "b2", lane="1")
        await trio.sleep(10)
    assert [body for body in bed.bodies if body[0] == "a"] == ["a1", "a2", "a3"]
    assert [body for body in bed.bodies if body[0] == "b"] == ["b1", "b2"]
    assert bed.poster.most_at_once == 2


async def test_no_more_requests_are_made_at_once_than_the_endpoint_takes(autojump_clock: MockClock) -> None:
    bed = Bed(concurrency=2)
    bed.poster.seconds = 1.0
    async with bed.running():
        for lane in range(6):
            await bed.put(f"{lane}", lane=str(lane))
        await trio.sleep(10)
    assert len(bed.bodies) == 6
    assert bed.poster.most_at_once == 2


async def test_a_failure_is_tried_again_with_the_same_id_before_the_lane_goes_on(
    autojump_clock: MockClock,
) -> None:
    bed = Bed()
    bed.poster.script.extend([500, PostFailed("no answer"), 302])
    async with bed.running():
        await bed.put("one", "two")
        await trio.sleep(60)
    assert bed.bodies == ["one", "one", "one", "one", "two"]
    first = bed.poster.posted[:4]
    assert {posted.headers["webhook-id"] for posted in first} == {"id-one"}
    assert len({posted.headers["webhook-timestamp"] for posted in first}) == 4
    times = [posted.at - first[0].at for posted in first]
    assert [round(time) for time in times] == [0, 1, 3, 7]  # after 1, 2 and 4 seconds
    assert bed.courier.outcomes == {"failed": 3, "delivered": 2}


async def test_retry_after_is_honoured(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.script.append(Answer(429, {"retry-after": "100"}, b""))
    async with bed.running():
        await bed.put("one")
        await trio.sleep(99)
        assert len(bed.bodies) == 1
        await trio.sleep(3)
        assert len(bed.bodies) == 2


async def test_what_nobody_takes_for_a_day_is_a_dead_letter_and_the_lane_goes_on(autojump_clock: MockClock) -> None:
    bed = Bed(poll_seconds=60.0)
    bed.poster.default = 503
    async with bed.running():
        await bed.put("one")
        await trio.sleep(86_400 + 1000)
        [dead] = await bed.dead()
        assert (dead.body, dead.key) == (b"one", "id-one")
        assert dead.error.startswith("status 503, given up after ")
        bed.poster.default = 204
        await bed.put("two")
        await trio.sleep(5)
    assert bed.bodies[-1] == "two"
    # doubling from one second to a quarter of an hour makes about a hundred attempts a day
    assert 90 < len(bed.bodies) < 120


async def test_a_fault_of_a_library_is_a_failed_attempt(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.script.append(KeyError("h2"))
    with structlog.testing.capture_logs() as logs:
        async with bed.running():
            await bed.put("one")
            await trio.sleep(10)
    assert bed.bodies == ["one", "one"]
    assert [line["event"] for line in logs] == [
        "webhook failed",
        "webhook endpoint fails",
        "webhook endpoint works again",
    ]


async def test_a_failing_endpoint_is_logged_once(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.default = 500
    with structlog.testing.capture_logs() as logs:
        async with bed.running():
            await bed.put("one")
            await trio.sleep(600)
    assert [line["event"] for line in logs] == ["webhook endpoint fails"]


async def test_an_endpoint_that_is_gone_gets_nothing_more_until_it_is_enabled(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.script.append(410)
    async with bed.running():
        await bed.put("one", "two", "three")
        await trio.sleep(100)
        assert bed.bodies == ["one"]
        assert bed.route.is_gone
        assert [dead.body for dead in await bed.dead()] == [b"one", b"two", b"three"]
        await bed.courier.enable()
        await bed.jobs.replay(QUEUE, [dead.job_id for dead in await bed.dead()], now=int(trio.current_time() * 1000))
        bed.courier.wake()
        await trio.sleep(5)
    assert bed.bodies == ["one", "one", "two", "three"]


async def test_an_endpoint_stays_gone_over_a_restart_unless_its_url_changed(autojump_clock: MockClock) -> None:
    store = MetaStore()
    first = Bed(store=store)
    first.poster.script.append(410)
    async with first.running():
        await first.put("one")
        await trio.sleep(1)
    second = Bed(store=store)
    async with second.running():
        await trio.sleep(1)
        assert second.route.is_gone
    third = Bed(store=store, url="https://b.example/")
    async with third.running():
        await trio.sleep(1)
        assert not third.route.is_gone


async def test_an_endpoint_that_another_process_enabled_gets_requests_again(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.script.append(410)
    async with bed.running():
        await bed.put("one")
        await trio.sleep(5)
        bed.store.meta.clear()
        await trio.sleep(40)
        await bed.put("two")
        await trio.sleep(5)
    assert bed.bodies == ["one", "two"]


async def test_what_is_under_way_when_the_node_stops_goes_back_at_once(autojump_clock: MockClock) -> None:
    bed = Bed()
    bed.poster.seconds = 10.0
    async with bed.running():
        await bed.put("one", "two")
        await trio.sleep(1)
    other = Bed(jobs=bed.jobs)
    async with other.running():
        await trio.sleep(3)
    assert other.bodies == ["one", "two"]


async def test_a_request_whose_node_died_is_made_again_after_its_lease(
    autojump_clock: MockClock,
) -> None:
    bed = Bed()
    await bed.put("one", "two")
    [_] = await bed.jobs.claim(QUEUE, now=int(trio.current_time() * 1000), lease_ms=20_000, limit=10)
    async with bed.running():
        await trio.sleep(19)
        assert bed.bodies == []
        await trio.sleep(5)
    assert bed.bodies == ["one", "two"]


async def test_a_queue_that_cannot_be_read_is_logged_once_and_read_again(autojump_clock: MockClock) -> None:
    bed = Bed()
    await bed.put("one")
    bed.jobs.error = StoreUnavailable("away")
    with structlog.testing.capture_logs() as logs:
        async with bed.running():
            await trio.sleep(30)
            bed.jobs.error = None
            await trio.sleep(5)
    assert bed.bodies == ["one"]
    assert [line["event"] for line in logs] == ["the queue of webhooks cannot be read"]


async def test_a_delivery_that_cannot_be_noted_is_noted_later(autojump_clock: MockClock) -> None:
    bed = Bed()

    def fail_from_now() -> int:
        bed.jobs.error = StoreUnavailable("away")
        return 204

    bed.poster.script.append(fail_from_now)
    async with bed.running():
        await bed.put("one", "two")
        await trio.sleep(5)
        bed.jobs.error = None
        await trio.sleep(30)
    assert bed.bodies == ["one", "two"]


async def test_a_failure_that_cannot_be_noted_makes_the_request_again_when_its_lease_ends(
    autojump_clock: MockClock,
) -> None:
    bed = Bed()

    def fail_from_now() -> int:
        bed.jobs.error = StoreUnavailable("away")
        return 500

    bed.poster.script.append(fail_from_now)
    async with bed.running():
        await bed.put("one", "two")
        await trio.sleep(5)
        bed.jobs.error = None
        await trio.sleep(10)
        assert bed.bodies == ["one"]
        await trio.sleep(20)
    assert bed.bodies == ["one", "one", "two"]


async def test_deliveries_at_once_are_noted_in_one_step(autojump_clock: MockClock) -> None:
    bed = Bed(concurrency=8)
    bed.poster.seconds = 1.0
    finished: list[int] = []
    finish = bed.jobs.finish

    async def count_and_finish(jobs: Sequence[Job]) -> None:
        finished.append(len(jobs))
        await finish(jobs)

    bed.jobs.finish = count_and_finish  # type: ignore[method-assign]
    for lane in range(8):
        await bed.put(str(lane), lane=str(lane))
    async with bed.running():
        await trio.sleep(5)
    assert sum(finished) == 8
    assert len(finished) < 4
