"""The worker: from plans in the queue to notifications, and what it makes of every outcome."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from chatd.config import Push
from chatd.push import Delivered, Gone, Notification, Outcome, Rejected, Throttled, Unavailable
from chatd.push.counts import PushCounts
from chatd.push.examiner import Examiner
from chatd.push.jobs import PLAN_QUEUE, Plan, plan_job
from chatd.push.preferences import EVERYWHERE, ChannelWishes, Wishes, to_values
from chatd.push.templates import SHIPPED, load_templates
from chatd.push.worker import PushWorker
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import StoreUnavailable, append
from storage.jobs import JobCounts
from storage.records import PreferenceRecord, PushTokenRecord, ReadMark, Role
from storage.sqlite import SqliteStore, open_sqlite
from tests.chatd.push.contents import AT, HOUR, content, message
from tests.chatd.push.tokens import push_token
from tests.fakes.hand_clock import HandClock
from tests.fakes.memory_jobs import MemoryJobs

BOB = UserId("bob")
DM = ChannelName("dm:alice:bob")
NOTHING = JobCounts(waiting=0, claimed=0, dead=0)
CONFIG = Push(
    poll_seconds=0.01, request_seconds=0.2, connect_seconds=0.2, rest_seconds=0.05, rest_max_seconds=0.05, failures=2
)
PATIENCE_SECONDS = 10.0


class Service:
    """A provider that says what it is told to, and remembers what it was given."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.sent: list[Notification] = []
        self.changed = trio.Condition()
        self.hold: trio.Event | None = None

    def circuit(self, token: PushTokenRecord) -> str:
        return "fcm"

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        async with self.changed:
            self.sent.append(notification)
            self.changed.notify_all()
        if self.hold is not None:
            await self.hold.wait()
        return self.outcomes.pop(0) if self.outcomes else Delivered()

    async def until(self, count: int) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            async with self.changed:
                while len(self.sent) < count:
                    await self.changed.wait()


class Somewhere:
    """Knows who looks and which devices are connected."""

    def __init__(self) -> None:
        self.lookers: set[UserId] = set()
        self.connected: set[tuple[UserId, DeviceId]] = set()

    async def looking(self, users: object) -> set[UserId]:
        return self.lookers

    async def devices(self, users: object) -> set[tuple[UserId, DeviceId]]:
        return self.connected


class Bench:
    """A worker with everything around it."""

    def __init__(self, store: SqliteStore, config: Push) -> None:
        self.store = store
        self.jobs = MemoryJobs()
        self.service = Service()
        self.somewhere = Somewhere()
        self.clock = HandClock(AT / 1000)
        self.counts = PushCounts()
        self.config = config
        self.worker = self.make_worker()

    def make_worker(self) -> PushWorker:
        examiner = Examiner(self.config, self.store, self.somewhere, lambda _: True)
        return PushWorker(
            self.config,
            self.store,
            self.jobs,
            examiner,
            {"fcm": self.service},
            load_templates(SHIPPED),
            self.counts,
            None,
            self.clock,
            lambda: 0.0,
        )

    async def plan(self, data: object = msgspec.UNSET, *, users: tuple[str, ...] = ("bob",), seq: int = 1) -> None:
        """Put a plan that is due."""
        found = content({"text": "hi"} if data is msgspec.UNSET else data, seq=seq)
        job = plan_job(Plan(found, [UserId(user) for user in users]), 0, AT)
        await self.jobs.put([job], now=AT)
        self.worker.wake()

    async def wish(self, channel: ChannelName, wishes: ChannelWishes) -> None:
        await self.store.put_preference(PreferenceRecord(user=BOB, channel=channel, values=to_values(wishes)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that is only seen by looking."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not condition():
                await trio.lowlevel.checkpoint()

    async def until_ended(self, **ends: int) -> None:
        await self.until(lambda: self.counts.ends == ends)

    async def until_done(self) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            while [await self.jobs.counts(queue) for queue in (PLAN_QUEUE, "push:fcm")] != [NOTHING, NOTHING]:
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def bench(folder: Path, **config: Any) -> AsyncIterator[Bench]:
    async with open_sqlite(folder / "chatd.sqlite3") as store:
        made = Bench(store, msgspec.structs.replace(CONFIG, **config))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.worker.run)
            yield made
            nursery.cancel_scope.cancel()


async def test_a_device_of_who_is_away_is_told(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        await rig.plan(users=("bob", "carol"))
        await rig.service.until(1)
        [told] = rig.service.sent
        assert (told.title, told.body, told.thread, told.priority) == ("alice", "hi", DM, "high")
        assert told.data == {"channel": DM, "epoch": "e", "seq": "1", "sender": "alice", "at": str(AT)}
        await rig.until_done()
        assert (rig.counts.ends, rig.counts.handed_over) == ({"pushed": 1}, {"fcm": 1})


async def test_every_device_is_told_in_its_own_language(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token(token="one", locale="de"))
        await rig.store.put_push_token(push_token(token="two", device="desk"))
        await rig.plan({})
        await rig.service.until(2)
        assert {told.body for told in rig.service.sent} == {"Neue Nachricht", "New message"}
        assert len({told.id for told in rig.service.sent}) == 2


async def test_who_is_not_to_be_told_is_not(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        rig.somewhere.lookers = {BOB}
        await rig.plan(seq=1)
        await rig.until_ended(live=1)
        rig.somewhere.lookers, rig.somewhere.connected = set(), {(BOB, DeviceId("phone"))}
        await rig.plan(seq=2)
        await rig.until_ended(live=2)
        rig.somewhere.connected = set()
        await rig.store.save_read_marks([ReadMark(user=BOB, channel=DM, seq=Seq(3), at=AT)])
        await rig.plan(seq=3)
        await rig.until_ended(live=2, read=1)
        await rig.wish(DM, ChannelWishes(muted_until=AT + 1))
        await rig.plan(seq=4)
        await rig.until_ended(live=2, read=1, muted=1)
        await rig.wish(DM, ChannelWishes(mentions_only=True))
        await rig.plan(seq=5)
        await rig.until_ended(live=2, read=1, muted=1, unmentioned=1)
        await rig.until_done()
        assert rig.service.sent == []
        await rig.plan({"mentions": ["bob"]}, seq=6)
        await rig.service.until(1)


async def test_a_push_waits_for_the_end_of_the_quiet_hours_and_not_if_it_is_read_before(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        await rig.wish(EVERYWHERE, Wishes(quiet_from="07:00", quiet_to="08:30"))
        await rig.plan(seq=1)
        await rig.plan(seq=2)
        await rig.until(lambda: len(rig.jobs.puts) == 4 or sum(map(len, rig.jobs.puts)) == 4)
        await rig.store.save_read_marks([ReadMark(user=BOB, channel=DM, seq=Seq(1), at=AT)])
        assert rig.service.sent == []
        rig.clock.advance(HOUR / 2000)
        await rig.service.until(1)
        await rig.until_done()
        assert rig.counts.ends == {"read": 1, "pushed": 1}
        assert rig.service.sent[0].data["seq"] == "2"


async def test_the_badge_is_what_is_unread(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        for channel, count in ((DM, 3), (ChannelName("dm:bob:carol"), 4)):
            await rig.store.create_channel(channel, {BOB: Role.MEMBER}, AT)
            await append(rig.store, [message({}, channel=channel, seq=seq) for seq in range(1, count + 1)])
        await rig.store.save_read_marks([ReadMark(user=BOB, channel=DM, seq=Seq(2), at=AT)])
        await rig.plan(seq=3)
        await rig.service.until(1)
        assert rig.service.sent[0].badge == 5


async def test_without_badges_the_number_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path, badges=False) as rig:
        await rig.store.put_push_token(push_token())
        await rig.plan()
        await rig.service.until(1)
        assert rig.service.sent[0].badge is None


async def test_a_token_that_is_gone_is_removed(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token(created_at=5))
        rig.service.outcomes = [Gone("registered since", since=4), Gone("gone", since=6)]
        await rig.plan(seq=1)
        await rig.until_ended(gone=1)
        assert await rig.store.push_tokens([BOB]) != []
        await rig.plan(seq=2)
        await rig.until_ended(gone=2)
        assert await rig.store.push_tokens([BOB]) == []


async def test_a_push_that_is_rejected_can_be_looked_at(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        rig.service.outcomes = [Rejected("BadTopic")]
        await rig.plan()
        await rig.until_ended(rejected=1)
        with trio.fail_after(PATIENCE_SECONDS):
            while not (dead := await rig.jobs.dead("push:fcm", limit=9)):
                await trio.lowlevel.checkpoint()
        assert [job.error for job in dead] == ["BadTopic"]


async def test_what_could_not_be_handed_over_is_tried_again_until_it_is_worth_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        rig.service.outcomes = [Unavailable("oops"), Throttled("slowly"), Unavailable("oops")]
        await rig.plan()
        for tries in (1, 2, 3):
            await rig.service.until(tries)
            await rig.until(lambda tries=tries: rig.counts.again["fcm"] == tries)  # type: ignore[misc]
            rig.clock.advance(60)
        await rig.service.until(4)
        await rig.until_done()
        assert len({told.id for told in rig.service.sent}) == 1
        rig.service.outcomes = [Unavailable("oops")]
        await rig.plan(seq=2)
        await rig.service.until(5)
        await rig.until(lambda: rig.counts.again["fcm"] == 4)
        rig.clock.advance(HOUR / 1000)
        await rig.until_ended(pushed=1, expired=1)


async def test_a_service_that_is_down_is_asked_by_one_at_a_time(tmp_path: Path) -> None:
    async with bench(tmp_path, failures=1, rest_seconds=1000.0, rest_max_seconds=1000.0) as rig:
        for number in range(20):
            await rig.store.put_push_token(push_token(token=f"t{number}", device=f"d{number}"))
        rig.service.outcomes = [Unavailable("down")] * 20
        await rig.plan()
        await rig.until(lambda: rig.counts.again["fcm"] > 0)
        await rig.until(lambda: rig.worker.in_flight == 0)
        before = len(rig.service.sent)
        await rig.plan(seq=2)
        with trio.fail_after(PATIENCE_SECONDS):
            while (await rig.jobs.counts(PLAN_QUEUE)) != NOTHING:
                await trio.lowlevel.checkpoint()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert len(rig.service.sent) == before
        assert rig.worker.circuits.open_count(trio.current_time()) == 1


async def test_a_job_that_comes_again_is_not_handed_over_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        finish = rig.jobs.finish
        failing = True

        async def flaky(jobs: Any) -> None:
            if failing and jobs[0].queue == "push:fcm":
                raise StoreUnavailable("away")
            await finish(jobs)

        rig.jobs.finish = flaky  # type: ignore[method-assign]
        await rig.plan()
        await rig.service.until(1)
        await rig.until(lambda: rig.counts.ends["pushed"] == 1)
        rig.clock.advance(rig.config.lease_seconds + 1)  # the lease is over before the queue heard of it
        await rig.until(lambda: rig.counts.ends["repeated"] >= 1)
        failing = False
        await rig.until_done()
        assert len(rig.service.sent) == 1


async def test_two_workers_share_the_work_and_nothing_is_done_twice(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.make_worker().run)
        for number in range(40):
            await rig.store.put_push_token(push_token(token=f"t{number}", device=f"d{number}"))
        for seq in range(1, 6):
            await rig.plan(seq=seq)
            await rig.plan(seq=seq)  # a second node that noted the same message
        await rig.service.until(200)
        await rig.until_done()
        assert len({told.id for told in rig.service.sent}) == len(rig.service.sent) == 200
        nursery.cancel_scope.cancel()


async def test_pushes_of_one_device_come_in_the_order_of_the_messages(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        for seq in range(1, 10):
            await rig.plan(seq=seq)
        await rig.service.until(9)
        assert [told.data["seq"] for told in rig.service.sent] == [str(seq) for seq in range(1, 10)]


async def test_what_is_on_its_way_gets_there_when_the_worker_leaves(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        rig = Bench(store, CONFIG)
        await store.put_push_token(push_token())
        rig.service.hold = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.worker.run)
            await rig.plan()
            await rig.service.until(1)
            nursery.cancel_scope.cancel()
            rig.service.hold.set()
        await rig.until_done()
        assert rig.counts.ends == {"pushed": 1}


async def test_jobs_that_nobody_can_read_do_not_hold_up_the_others(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        good = plan_job(Plan(content({}), [BOB]), 0, AT)
        bad = msgspec.structs.replace(good, body=b"nonsense", key="bad")
        broken = msgspec.structs.replace(good, queue="push:fcm", body=b"nonsense", key="broken")
        await rig.jobs.put([bad, broken, good], now=AT)
        rig.worker.wake()
        await rig.service.until(1)
        await rig.until_ended(pushed=1)
        assert [job.key for job in await rig.jobs.dead("push:fcm", limit=9)] == ["broken"]


async def test_a_queue_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token())
        await rig.plan()
        rig.jobs.error = StoreUnavailable("away")
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        rig.jobs.error = None
        rig.clock.advance(rig.config.lease_seconds + 1)
        await rig.until_ended(pushed=1)
        await rig.until_done()


@pytest.mark.parametrize("dry_run", [True])
async def test_a_dry_run_is_counted_as_one(tmp_path: Path, dry_run: bool) -> None:
    async with bench(tmp_path, dry_run=dry_run) as rig:
        await rig.store.put_push_token(push_token())
        await rig.plan()
        await rig.until_ended(dry=1)


async def test_tokens_for_other_kinds_of_pushes_get_none(tmp_path: Path) -> None:
    async with bench(tmp_path) as rig:
        await rig.store.put_push_token(push_token("apns"))  # a provider that is not configured here
        await rig.plan({"push": {"kind": "liveactivity"}})
        await rig.until_done()
        assert rig.service.sent == []
