"""What every queue of jobs must do: the promises of `storage.jobs.JobQueue`, one test each.

An adapter joins in tests/storage/test_jobs.py with one param of the fixture `open_jobs`, which opens the same queue
each time it is called, with the bounds it is given.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest
import trio

from storage import StoreBusy
from storage.jobs import Job, JobCounts, JobQueue, NewJob

MAIL, CALLS = "mail", "calls"


class OpenJobs(Protocol):
    """Opens a queue."""

    def __call__(self, waiting: int = 10_000, dead: int = 10_000) -> AbstractAsyncContextManager[JobQueue]: ...


def job(name: str, due: int = 100, *, queue: str = MAIL, lane: str = "", key: str = "") -> NewJob:
    """Make a job that is known by its body."""
    return NewJob(queue=queue, body=name.encode(), due=due, lane=lane, key=key)


async def put(jobs: JobQueue, *new: NewJob, now: int = 50) -> int:
    """Put jobs."""
    return await jobs.put(new, now=now)


async def claim(jobs: JobQueue, *, now: int = 1000, lease_ms: int = 500, limit: int = 100) -> list[Job]:
    """Claim what is due in the usual queue."""
    return await jobs.claim(MAIL, now=now, lease_ms=lease_ms, limit=limit)


async def claim_one(jobs: JobQueue, *, now: int = 1000) -> Job:
    """Claim the one job that there is to claim."""
    (found,) = await claim(jobs, now=now)
    return found


def names(found: list[Job]) -> list[str]:
    """Tell which jobs these are."""
    return [each.body.decode() for each in found]


class LifeContract:
    """Jobs are put, claimed and finished."""

    async def test_a_job_comes_back_as_it_was_put(self, jobs: JobQueue) -> None:
        body = b"\x00\xff\xc1 body"
        await jobs.put([NewJob(queue=MAIL, body=body, due=100, lane="alice", key="k ☎")], now=50)
        found = await claim_one(jobs)
        assert found == Job(
            job_id=found.job_id,
            queue=MAIL,
            lane="alice",
            key="k ☎",
            body=body,
            due=100,
            attempts=1,
            created_at=50,
            error="",
        )

    async def test_jobs_are_claimed_the_longest_due_first(self, jobs: JobQueue) -> None:
        await put(jobs, job("c", 300), job("a", 100), job("b1", 200), job("b2", 200), job("d", 400))
        assert names(await claim(jobs, limit=3)) == ["a", "b1", "b2"]
        assert names(await claim(jobs, limit=3)) == ["c", "d"]
        assert await claim(jobs) == []

    async def test_a_job_is_not_claimed_before_it_is_due(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", 100))
        assert await claim(jobs, now=99) == []
        assert names(await claim(jobs, now=100)) == ["a"]

    async def test_a_claimed_job_is_hidden_until_its_lease_ends(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"))
        assert names(await claim(jobs, now=1000, lease_ms=500)) == ["a"]
        assert await claim(jobs, now=1499) == []
        again = await claim_one(jobs, now=1500)
        assert again.attempts == 2

    async def test_a_finished_job_is_gone(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"), job("b"))
        first, second = await claim(jobs)
        await jobs.finish([first, second])
        await jobs.finish([first])
        await jobs.finish([])
        assert await claim(jobs, now=10_000) == []
        assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=0, dead=0)

    async def test_queues_do_not_see_each_others_jobs(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="same", lane="one"), job("b", key="same", lane="one", queue=CALLS))
        assert names(await claim(jobs)) == ["a"]
        assert names(await jobs.claim(CALLS, now=1000, lease_ms=1, limit=10)) == ["b"]
        assert await jobs.cancel(CALLS, ["same"]) == 1
        assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=1, dead=0)

    async def test_of_claimers_at_once_each_gets_other_jobs(self, jobs: JobQueue) -> None:
        await put(jobs, *(job(str(number)) for number in range(100)))
        found: list[str] = []

        async def work() -> None:
            while taken := await claim(jobs, limit=7):
                found.extend(names(taken))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(work)
        assert sorted(found, key=int) == [str(number) for number in range(100)]

    async def test_a_batch_of_a_thousand_jobs_is_put_and_finished(self, jobs: JobQueue) -> None:
        await put(jobs, *(job(str(number), number) for number in range(1000)))
        taken = await claim(jobs, limit=1000)
        assert names(taken) == [str(number) for number in range(1000)]
        await jobs.finish(taken)
        assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=0, dead=0)

    async def test_jobs_and_claims_survive_closing_the_queue(self, open_jobs: OpenJobs) -> None:
        async with open_jobs() as jobs:
            await put(jobs, job("a", 100), job("b", 200))
            held = await claim(jobs, limit=1)
        async with open_jobs() as jobs:
            assert names(await claim(jobs)) == ["b"]
            await jobs.finish(held)
            assert names(await claim(jobs, now=10_000)) == ["b"]


class KeyContract:
    """A key is put once, and a job is cancelled by it."""

    async def test_a_job_of_a_known_key_is_not_put_twice(self, jobs: JobQueue) -> None:
        assert await put(jobs, job("a", key="k"), job("b", key="k"), job("c")) == 2
        assert await put(jobs, job("d", key="k")) == 0
        first, _ = await claim(jobs)
        assert await put(jobs, job("e", key="k")) == 0
        await jobs.bury(first, error="no")
        assert await put(jobs, job("f", key="k")) == 0

    async def test_a_key_may_be_used_again_when_its_job_is_finished(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="k"))
        await jobs.finish(await claim(jobs))
        assert await put(jobs, job("b", key="k")) == 1
        assert names(await claim(jobs)) == ["b"]

    async def test_jobs_without_a_key_are_all_put(self, jobs: JobQueue) -> None:
        assert await put(jobs, job("a"), job("a")) == 2
        assert names(await claim(jobs)) == ["a", "a"]

    async def test_a_cancelled_job_is_gone(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="one"), job("b", key="two"), job("c"))
        assert await jobs.cancel(MAIL, ["one", "unknown", ""]) == 1
        assert names(await claim(jobs)) == ["b", "c"]
        assert await put(jobs, job("d", key="one")) == 1

    async def test_a_claimed_job_that_is_cancelled_is_not_tried_again(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="one"))
        held = await claim_one(jobs)
        assert await jobs.cancel(MAIL, ["one"]) == 1
        await jobs.retry(held, due=2000, error="no")
        await jobs.bury(held, error="no")
        assert await claim(jobs, now=10_000) == []
        assert await jobs.dead(MAIL, limit=10) == []

    async def test_a_dead_job_is_not_cancelled(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="one"))
        await jobs.bury(await claim_one(jobs), error="no")
        assert await jobs.cancel(MAIL, ["one"]) == 0
        assert names(await jobs.dead(MAIL, limit=10)) == ["a"]


class FailureContract:
    """Jobs are tried again, given up and replayed."""

    async def test_a_retried_job_waits_for_its_new_time(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"))
        await jobs.retry(await claim_one(jobs), due=3000, error="timed out")
        assert await claim(jobs, now=2999) == []
        again = await claim_one(jobs, now=3000)
        assert (again.due, again.attempts, again.error) == (3000, 2, "timed out")

    async def test_a_claim_that_is_over_cannot_touch_the_next_one(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"))
        late = await claim_one(jobs, now=1000)
        await claim_one(jobs, now=2000)
        await jobs.finish([late])
        await jobs.retry(late, due=0, error="late")
        await jobs.bury(late, error="late")
        assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=1, dead=0)
        assert (await claim_one(jobs, now=3000)).error == ""

    async def test_who_is_late_but_not_replaced_may_finish(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"))
        late = await claim_one(jobs, now=1000)
        await jobs.finish([late])
        assert await claim(jobs, now=10_000) == []

    async def test_a_buried_job_is_listed_with_its_error(self, jobs: JobQueue) -> None:
        await put(jobs, *(job(str(number)) for number in range(5)), job("other", queue=CALLS))
        for held in await claim(jobs):
            await jobs.bury(held, error=f"no {held.body.decode()} " + "x" * 10_000)
        assert await claim(jobs, now=10_000) == []
        first = await jobs.dead(MAIL, limit=3)
        assert names(first) == ["0", "1", "2"]
        assert first[1].error.startswith("no 1 x")
        assert len(first[1].error) < 1000
        assert names(await jobs.dead(MAIL, after=first[-1].job_id, limit=3)) == ["3", "4"]
        assert await jobs.dead(CALLS, limit=3) == []

    async def test_jobs_that_are_not_dead_are_listed_in_pages_in_the_order_of_putting(self, jobs: JobQueue) -> None:
        for name in "abcde":
            await jobs.put([job(name, due=900 - ord(name), lane="one" if name in "de" else "")], now=0)
        await jobs.put([job("other", queue=CALLS)], now=0)
        for claimed in await jobs.claim(MAIL, now=900, lease_ms=100, limit=10):
            if claimed.body == b"b":
                await jobs.bury(claimed, error="no")
        first = await jobs.pending(MAIL, limit=3)
        assert names(first) == ["a", "c", "d"]
        assert names(await jobs.pending(MAIL, after=first[-1].job_id, limit=3)) == ["e"]
        assert await jobs.pending(MAIL, after="no id", limit=3) == []

    async def test_dead_jobs_are_replayed_as_if_they_were_new(self, jobs: JobQueue) -> None:
        await put(jobs, job("a", key="k"), job("b"), job("c"))
        for held in await claim(jobs):
            await jobs.bury(held, error="no")
        a, _, c = await jobs.dead(MAIL, limit=10)
        assert await jobs.replay(MAIL, [a.job_id, c.job_id, "unknown", "999999999"], now=5000) == 2
        assert await jobs.replay(CALLS, [a.job_id], now=5000) == 0
        assert await jobs.replay(MAIL, [a.job_id], now=5000) == 0
        again = await claim(jobs, now=5000)
        assert names(again) == ["a", "c"]
        assert [(each.due, each.attempts, each.error) for each in again] == [(5000, 1, "")] * 2
        assert names(await jobs.dead(MAIL, limit=10)) == ["b"]

    async def test_an_id_that_is_none_finds_nothing(self, jobs: JobQueue) -> None:
        await put(jobs, job("a"))
        await jobs.bury(await claim_one(jobs), error="no")
        assert await jobs.dead(MAIL, after="no id", limit=10) == []
        assert await jobs.replay(MAIL, ["", "-1", "1e3", "²", "9" * 40], now=0) == 0


class LaneContract:
    """Jobs of one lane are done in order, one at a time."""

    async def test_of_each_lane_the_first_job_is_claimed(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", 100, lane="a"), job("a2", 50, lane="a"), job("b1", 70, lane="b"), job("free", 60))
        taken = await claim(jobs)
        assert names(taken) == ["free", "b1", "a1"]
        assert await claim(jobs) == []
        await jobs.finish(taken)
        assert names(await claim(jobs)) == ["a2"]

    async def test_a_lane_waits_for_a_first_job_that_is_tried_again(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", lane="a"), job("a2", lane="a"))
        await jobs.retry(await claim_one(jobs), due=5000, error="no")
        assert await claim(jobs, now=4999) == []
        held = await claim_one(jobs, now=5000)
        assert names([held]) == ["a1"]
        await jobs.finish([held])
        assert names(await claim(jobs, now=5000)) == ["a2"]

    async def test_a_lane_waits_for_a_first_job_that_is_not_due(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", 9000, lane="a"))
        await put(jobs, job("a2", 100, lane="a"))
        assert await claim(jobs) == []
        assert await jobs.next_due(MAIL) == 9000

    async def test_a_lane_goes_on_after_a_job_that_was_given_up_or_cancelled(self, jobs: JobQueue) -> None:
        await put(jobs, *(job(f"a{number}", lane="a", key=f"k{number}") for number in range(1, 5)))
        await jobs.bury(await claim_one(jobs), error="no")
        assert await jobs.cancel(MAIL, ["k2"]) == 1
        held = await claim_one(jobs)
        assert names([held]) == ["a3"]
        assert await jobs.cancel(MAIL, ["k3"]) == 1
        assert names(await claim(jobs)) == ["a4"]

    async def test_a_lane_whose_claimer_died_goes_on_with_the_same_job(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", lane="a"), job("a2", lane="a"))
        await claim_one(jobs, now=1000)
        assert names(await claim(jobs, now=2000)) == ["a1"]

    async def test_a_lane_that_was_empty_opens_again(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", lane="a"))
        await jobs.finish(await claim(jobs))
        await put(jobs, job("a2", lane="a"))
        assert names(await claim(jobs)) == ["a2"]

    async def test_a_replayed_job_comes_before_the_later_ones_of_its_lane(self, jobs: JobQueue) -> None:
        await put(jobs, *(job(f"a{number}", lane="a") for number in range(1, 4)))
        await jobs.bury(await claim_one(jobs), error="no")
        (dead,) = await jobs.dead(MAIL, limit=1)
        assert await jobs.replay(MAIL, [dead.job_id], now=900) == 1
        for expected in ("a1", "a2", "a3"):
            held = await claim_one(jobs)
            assert names([held]) == [expected]
            await jobs.finish([held])

    async def test_a_replayed_job_does_not_overtake_the_claimed_one_of_its_lane(self, jobs: JobQueue) -> None:
        await put(jobs, job("a1", lane="a"), job("a2", lane="a"))
        await jobs.bury(await claim_one(jobs), error="no")
        held = await claim_one(jobs)
        (dead,) = await jobs.dead(MAIL, limit=1)
        assert await jobs.replay(MAIL, [dead.job_id], now=900) == 1
        assert await claim(jobs) == []
        await jobs.finish([held])
        assert names(await claim(jobs)) == ["a1"]

    async def test_many_lanes_keep_their_order_under_several_claimers(self, jobs: JobQueue) -> None:
        lanes = [f"lane-{number}" for number in range(8)]
        await put(jobs, *(job(f"{lane} {number}", lane=lane) for number in range(10) for lane in lanes))
        done: dict[str, list[int]] = {lane: [] for lane in lanes}
        at_work: set[str] = set()

        async def work() -> None:
            while sum(map(len, done.values())) < 80:
                for held in await claim(jobs, limit=3):
                    assert held.lane not in at_work
                    at_work.add(held.lane)
                    await trio.lowlevel.checkpoint()
                    done[held.lane].append(int(held.body.split()[1]))
                    at_work.remove(held.lane)
                    await jobs.finish([held])

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(work)
        assert done == {lane: list(range(10)) for lane in lanes}


class BoundContract:
    """Queues are bounded and counted."""

    async def test_jobs_are_counted(self, jobs: JobQueue) -> None:
        assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=0, dead=0)
        await put(jobs, *(job(str(number)) for number in range(4)), job("a1", lane="a"), job("a2", 5000, lane="a"))
        await put(jobs, job("other", queue=CALLS))
        first, *_ = await claim(jobs, limit=2)
        assert await jobs.counts(MAIL) == JobCounts(waiting=4, claimed=2, dead=0)
        await jobs.bury(first, error="no")
        assert await jobs.counts(MAIL) == JobCounts(waiting=4, claimed=1, dead=1)
        await jobs.replay(MAIL, [first.job_id], now=0)
        assert await jobs.counts(MAIL) == JobCounts(waiting=5, claimed=1, dead=0)

    async def test_a_full_queue_takes_nothing_of_a_call(self, open_jobs: OpenJobs) -> None:
        async with open_jobs(waiting=3) as jobs:
            await put(jobs, job("a"), job("b"))
            with pytest.raises(StoreBusy):
                await put(jobs, job("c"), job("d"))
            assert await put(jobs, job("c", key="k")) == 1
            assert await put(jobs, job("known", key="k"), job("other", queue=CALLS)) == 1
            with pytest.raises(StoreBusy):
                await put(jobs, job("e"))
            held = await claim(jobs, limit=1)
            with pytest.raises(StoreBusy):
                await put(jobs, job("f"))
            await jobs.finish(held)
            assert await put(jobs, job("g")) == 1
            assert names(await claim(jobs)) == ["b", "c", "g"]

    async def test_beyond_their_bound_the_oldest_dead_jobs_go(self, open_jobs: OpenJobs) -> None:
        async with open_jobs(dead=3) as jobs:
            await put(jobs, *(job(str(number)) for number in range(5)))
            for held in await claim(jobs):
                await jobs.bury(held, error="no")
            assert names(await jobs.dead(MAIL, limit=10)) == ["2", "3", "4"]
            assert await jobs.counts(MAIL) == JobCounts(waiting=0, claimed=0, dead=3)

    async def test_the_next_time_is_told(self, jobs: JobQueue) -> None:
        assert await jobs.next_due(MAIL) is None
        await put(jobs, job("b", 200), job("a", 100), job("other", 1, queue=CALLS))
        assert await jobs.next_due(MAIL) == 100
        held = await claim(jobs, now=100, lease_ms=500)
        assert await jobs.next_due(MAIL) == 200
        await claim(jobs, now=200, lease_ms=1000)
        assert await jobs.next_due(MAIL) == 600  # when the first lease ends
        await jobs.finish(held)
        assert await jobs.next_due(MAIL) == 1200
