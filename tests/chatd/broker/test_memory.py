"""The memory broker where timing matters: a store that waits, fails or forgets, and channels that come and go."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from chatd.broker import Published, Refused
from chatd.broker.log import REBIRTH_JUMP
from chatd.broker.logs import TooManyChannels
from chatd.broker.memory import MemoryBroker
from chatd.config import NAMESPACES
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq
from storage import COPIED_AT, StoreUnavailable
from tests.fakes.hand_clock import HandClock
from tests.fakes.held_store import HeldStore, stored
from tests.rig.broker import DURABLE, OTHER, PASSING, RECENT, Desk, Reader, draft, memory_broker, small_config

Answers = list[Published | Refused]


class Bench:
    """A broker on a store that the test holds, and publishes that the test need not wait for."""

    def __init__(self, nursery: trio.Nursery, store: HeldStore, **keys: object) -> None:
        self.nursery = nursery
        self.store = store
        self.clock = HandClock()
        self.desk = Desk()
        self.broker: MemoryBroker = memory_broker(
            store.as_store(), self.desk, clock=self.clock, config=small_config(**keys)
        )

    async def begin(self, *keys: str, channel: str = DURABLE, retry: bool = False) -> Answers:
        """Publish without waiting for the answers; the list fills when they come."""
        answers: Answers = []

        async def publish() -> None:
            answers.extend(await self.desk.publish(*(draft(key, channel, retry=retry) for key in keys)))

        self.nursery.start_soon(publish)
        await wait_all_tasks_blocked()
        return answers

    async def finish(self) -> None:
        """Let the store keep everything, and everybody take their answers."""
        while self.store.waiting:
            self.store.release_all()
            await wait_all_tasks_blocked()

    async def publish(self, key: str, channel: str = DURABLE, *, retry: bool = False) -> Published:
        """Publish and let the store keep it."""
        answers = await self.begin(key, channel=channel, retry=retry)
        await self.finish()
        [answer] = answers
        assert isinstance(answer, Published), answer
        return answer


@asynccontextmanager
async def a_bench(store: HeldStore | None = None, **keys: object) -> AsyncIterator[Bench]:
    """Open a bench; what still runs at the end is cancelled."""
    async with trio.open_nursery() as nursery:
        yield Bench(nursery, store or HeldStore(), **keys)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A bench whose store is empty."""
    async with a_bench() as made:
        yield made


def codes(answers: Answers) -> list[ErrorCode | None]:
    """Return why drafts were refused; None for those that were not."""
    return [answer.code if isinstance(answer, Refused) else None for answer in answers]


def seqs(answers: Answers) -> list[int]:
    """Return where drafts were placed."""
    return [answer.place.seq for answer in answers if isinstance(answer, Published)]


# Stored before anything else.


async def test_nothing_is_delivered_or_answered_before_it_is_stored(bench: Bench) -> None:
    first, second = await bench.begin("a", "b"), await bench.begin("c")
    assert bench.broker.statistics().waiting == 3
    assert (first, second, bench.desk.delivered) == ([], [], [])
    bench.store.release()
    assert bench.desk.seqs() == [1, 2]
    await wait_all_tasks_blocked()
    assert (seqs(first), second) == ([1, 2], [])
    bench.store.release()
    await wait_all_tasks_blocked()
    assert (seqs(second), bench.desk.seqs()) == ([3], [1, 2, 3])
    assert bench.broker.statistics().waiting == 0


async def test_only_durable_channels_wait_for_the_store(bench: Bench) -> None:
    await bench.begin("a")
    assert seqs(await bench.begin("b", channel=RECENT)) == [1]
    assert seqs(await bench.begin("c", channel=PASSING)) == [1]


# Keys while they are being stored.


async def test_a_resend_waits_for_the_first_and_gets_its_place(bench: Bench) -> None:
    first, again = await bench.begin("k"), await bench.begin("k", retry=True)
    assert (first, again, len(bench.store.waiting)) == ([], [], 1)
    await bench.finish()
    assert isinstance(first[0], Published)
    assert again == [Published(first[0].place, duplicate=True)]


async def test_a_resend_of_what_fails_fails_too_and_may_then_be_sent_again(bench: Bench) -> None:
    first, again = await bench.begin("k"), await bench.begin("k", retry=True)
    bench.store.fail()
    await wait_all_tasks_blocked()
    assert codes(first) == codes(again) == [ErrorCode.UNAVAILABLE]
    assert not (await bench.publish("k", retry=True)).duplicate
    assert bench.desk.seqs() == [1]


async def test_a_key_in_flight_in_another_channel_is_refused_at_once(bench: Bench) -> None:
    await bench.begin("k")
    assert codes(await bench.begin("k", channel=OTHER)) == [ErrorCode.KEY_REUSED]
    await bench.finish()
    assert bench.desk.seqs(OTHER) == []


async def test_a_resend_is_looked_up_in_the_store_when_memory_forgot_the_key() -> None:
    async with a_bench(dedupe_keys=4) as bench:
        first = await bench.publish("k")
        for number in range(10):
            await bench.publish(f"other-{number}")
        assert await bench.publish("k", retry=True) == Published(first.place, duplicate=True)
        assert len(bench.desk.delivered) == 11


async def test_a_first_send_costs_no_look_up(bench: Bench) -> None:
    await bench.publish("a")
    reads = bench.store.reads
    await bench.publish("b")
    await bench.publish("a", retry=True)  # memory still knows it
    assert bench.store.reads == reads


async def test_a_key_older_than_the_window_may_be_used_again(bench: Bench) -> None:
    bench.store.release_all()
    bench.store.kept[DURABLE] = {Seq(1): stored(DURABLE, 1, key="k", at=int(bench.clock.now * 1000))}
    bench.clock.advance(7 * 86400 + 1)
    assert not (await bench.publish("k", retry=True)).duplicate


async def test_look_ups_at_once_place_a_key_once(bench: Bench) -> None:
    bench.store.reads_wait = True
    answers = [await bench.begin("k", retry=True) for _ in range(3)]
    for _ in range(10):
        bench.store.let_read(10)
        await wait_all_tasks_blocked()
    await bench.finish()
    assert bench.desk.seqs() == [1]
    assert [answer.duplicate for [answer] in answers if isinstance(answer, Published)].count(True) == 2


# Failures of the store.


async def test_a_failure_refuses_all_that_waited_and_leaves_no_hole(bench: Bench) -> None:
    reader = Reader(bench.desk, DURABLE)
    await reader.come()
    await bench.publish("a")
    waiting = [await bench.begin("b", "c"), await bench.begin("d"), await bench.begin("e", channel=OTHER)]
    bench.store.fail()
    await wait_all_tasks_blocked()
    assert [codes(answers) for answers in waiting] == [[ErrorCode.UNAVAILABLE] * len(answers) for answers in waiting]
    assert (await bench.publish("d", retry=True)).place.seq == 2
    assert (await bench.publish("b", retry=True)).place.seq == 3
    reader.leave()
    assert [message.key for message in reader.seen] == ["a", "d", "b"]
    assert bench.broker.statistics().waiting == 0


async def test_what_was_stored_before_the_failure_is_delivered(bench: Bench) -> None:
    first, second = await bench.begin("a"), await bench.begin("b")
    bench.store.keep()
    bench.store.fail()
    await wait_all_tasks_blocked()
    assert (seqs(first), codes(second)) == ([1], [ErrorCode.UNAVAILABLE])
    assert (await bench.publish("c")).place.seq == 2
    assert bench.desk.seqs() == [1, 2]


async def test_what_the_store_kept_and_denied_is_delivered_before_what_comes_next(bench: Bench) -> None:
    reader = Reader(bench.desk, DURABLE)
    await reader.come()
    await bench.publish("a")
    denied = await bench.begin("b", "c")
    await bench.begin("d", channel=OTHER)
    bench.store.deny()
    bench.store.fail()
    await wait_all_tasks_blocked()
    assert codes(denied) == [ErrorCode.UNAVAILABLE] * 2
    assert bench.desk.seqs() == [1]
    assert (await bench.publish("e")).place.seq == 4
    reader.leave()
    assert [message.key for message in reader.seen] == ["a", "b", "c", "e"]
    assert (await bench.publish("b", retry=True)).duplicate
    assert (await bench.publish("d", channel=OTHER)).place.seq == 1
    assert bench.desk.seqs(OTHER) == [1]


async def test_readers_need_not_wait_for_the_next_message(bench: Bench, autojump_clock: MockClock) -> None:
    bench.nursery.start_soon(bench.broker.run)
    await bench.begin("a")
    bench.store.read_error = StoreUnavailable("no database")
    bench.store.deny()
    await trio.sleep(60)
    assert bench.desk.seqs() == []
    bench.store.read_error = None
    await trio.sleep(60)
    assert bench.desk.seqs() == [1]


async def test_a_busy_store_gives_the_seqs_back(bench: Bench) -> None:
    await bench.publish("a")
    first = await bench.begin("b")
    bench.store.is_busy = True
    refused = await bench.begin("c", "d", "c")
    assert codes(refused) == [ErrorCode.UNAVAILABLE] * 3
    assert all(answer.retry_after for answer in refused if isinstance(answer, Refused))
    bench.store.is_busy = False
    assert (await bench.publish("c")).place.seq == 3
    assert (seqs(first), bench.desk.seqs()) == ([2], [1, 2, 3])


async def test_a_busy_store_refuses_only_what_has_to_be_stored(bench: Bench) -> None:
    await bench.publish("a")
    bench.store.is_busy = True
    drafts = [draft("r", RECENT), draft("d"), draft("a")]
    answers = await bench.desk.publish(*drafts)
    assert codes(answers) == [None, ErrorCode.UNAVAILABLE, None]
    assert bench.desk.seqs(RECENT) == [1]


@pytest.mark.parametrize("retry", [False, True])
async def test_a_store_that_cannot_be_read_refuses_and_takes_nothing(bench: Bench, retry: bool) -> None:
    bench.store.read_error = StoreUnavailable("no database")
    assert codes(await bench.begin("a", retry=retry)) == [ErrorCode.UNAVAILABLE]
    joins: list[int] = []
    with pytest.raises(StoreUnavailable):
        await bench.broker.recover(DURABLE, None, lambda: joins.append(1))
    assert joins == []
    bench.store.read_error = None
    assert (await bench.publish("a", retry=retry)).place.seq == 1


async def test_who_waits_for_the_same_channel_tries_again_when_its_reader_fails(bench: Bench) -> None:
    bench.store.reads_wait = True
    first, second = await bench.begin("a"), await bench.begin("b")
    bench.store.read_error = StoreUnavailable("no database")
    bench.store.let_read()
    await wait_all_tasks_blocked()
    bench.store.read_error = None
    bench.store.let_read()
    await wait_all_tasks_blocked()
    await bench.finish()
    assert (codes(first), seqs(second)) == ([ErrorCode.UNAVAILABLE], [1])


# Time.


async def test_one_that_takes_too_long_is_answered_once(autojump_clock: MockClock) -> None:
    async with a_bench(publish_seconds=5.0) as bench:
        bench.nursery.start_soon(bench.broker.run)
        await bench.publish("a")
        answers: list[Published | Refused] = []
        assert bench.broker.publish_soon(draft("slow"), answers.append)
        await trio.sleep(7.0)
        assert codes(answers) == [ErrorCode.TIMEOUT]
        await bench.finish()
        assert codes(answers) == [ErrorCode.TIMEOUT]
        assert bench.desk.seqs() == [1, 2]


async def test_a_publish_that_takes_too_long_is_answered_and_arrives_all_the_same(autojump_clock: MockClock) -> None:
    async with a_bench(publish_seconds=5.0) as bench:
        bench.nursery.start_soon(bench.broker.run)
        await bench.publish("a")
        answers = await bench.desk.publish(draft("a"), draft("slow"), draft("r", RECENT))
        assert codes(answers) == [None, ErrorCode.TIMEOUT, None]
        again = await bench.begin("slow", retry=True)
        await bench.finish()
        assert isinstance(again[0], Published)
        assert again[0].duplicate
        assert bench.desk.seqs() == [1, 2]


async def test_a_cancelled_publish_that_had_its_place_arrives(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.desk.publish, draft("k"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await bench.finish()
    assert (await bench.publish("k", retry=True)).duplicate
    assert bench.desk.seqs() == [1]


async def test_a_publish_cancelled_before_it_had_a_place_leaves_nothing(bench: Bench) -> None:
    bench.store.reads_wait = True
    with trio.move_on_after(0):
        await bench.desk.publish(draft("k"))
    second = await bench.begin("b")
    bench.store.let_read(10)
    await wait_all_tasks_blocked()
    await bench.finish()
    assert (seqs(second), [message.key for message in bench.desk.delivered]) == ([1], ["b"])


# Recovering.


async def test_what_is_stored_but_not_yet_told_comes_once(bench: Bench) -> None:
    await bench.publish("a")
    bench.broker = memory_broker(bench.store.as_store(), bench.desk, clock=bench.clock)  # remembers nothing
    await bench.begin("b")
    reader = Reader(bench.desk, DURABLE)
    reader.cursor = (bench.desk.delivered[0].epoch, Seq(0))
    bench.store.keep()
    assert await reader.come()
    assert [message.seq for message in reader.seen] == [1]
    bench.store.tell()
    reader.leave()
    assert [message.seq for message in reader.seen] == [1, 2]


async def test_what_arrives_while_the_store_is_read_is_not_missed(bench: Bench) -> None:
    for number in range(100):
        await bench.publish(f"k{number}")
    reader = Reader(bench.desk, DURABLE)
    reader.cursor = (bench.desk.delivered[0].epoch, Seq(60))  # too far back for the messages in memory
    bench.broker = memory_broker(bench.store.as_store(), bench.desk, clock=bench.clock)
    await bench.publish("first of the new one")
    bench.store.reads_wait = True
    bench.nursery.start_soon(reader.come)
    await wait_all_tasks_blocked()
    await bench.publish("while it is read")
    bench.store.let_read()
    await wait_all_tasks_blocked()
    await bench.publish("after")
    reader.leave()
    assert [message.seq for message in reader.seen] == list(range(61, 104))


async def test_a_channel_that_is_written_to_faster_than_it_can_be_read_is_given_up(bench: Bench) -> None:
    config = small_config()
    limits = msgspec.structs.replace(config.limits, recover_messages=100_000)
    bench.broker = memory_broker(
        bench.store.as_store(), bench.desk, config=msgspec.structs.replace(config, limits=limits)
    )
    await bench.publish("a")
    reader = Reader(bench.desk, DURABLE)
    reader.cursor = (bench.desk.delivered[0].epoch, Seq(0))
    for number in range(70):
        await bench.publish(f"k{number}")
    bench.store.reads_wait = True
    outcome: list[bool] = []

    async def come() -> None:
        outcome.append(await reader.come())

    bench.nursery.start_soon(come)
    await wait_all_tasks_blocked()
    for round_ in range(100):
        if outcome:
            break
        await bench.begin(*(f"{round_}-{number}" for number in range(70)))
        await bench.finish()
        bench.store.let_read()
        await wait_all_tasks_blocked()
    assert outcome == [False]
    reader.leave()


async def test_trimmed_history_is_not_recovered(bench: Bench) -> None:
    for seq in range(5, 10):
        bench.store.kept.setdefault(DURABLE, {})[Seq(seq)] = stored(DURABLE, seq)
    for since, recovered in ((9, True), (8, True), (4, True), (3, False), (0, False)):
        reader = Reader(bench.desk, DURABLE)
        reader.cursor = (Epoch("old"), Seq(since))
        assert await reader.come() is recovered, since


async def test_history_of_two_epochs_is_not_recovered(bench: Bench) -> None:
    for seq, epoch in ((1, "older"), (2, "old"), (3, "old")):
        bench.store.kept.setdefault(DURABLE, {})[Seq(seq)] = stored(DURABLE, seq, epoch=epoch)
    for since, recovered in ((("older", 1), False), (("old", 1), True), (("old", 0), False)):
        reader = Reader(bench.desk, DURABLE)
        reader.cursor = (Epoch(since[0]), Seq(since[1]))
        assert await reader.come() is recovered, since


# History of recent channels: memory, and what is older than it.


@given(
    saved=st.sets(st.integers(1, 20), min_size=1, max_size=20),
    published=st.integers(0, 15),
    before=st.none() | st.integers(0, 40),
    after=st.none() | st.integers(0, 40),
    limit=st.integers(1, 40),
)
@settings(deadline=None, max_examples=60)
async def test_history_goes_on_in_the_store_where_memory_ends(
    saved: set[int], published: int, before: int | None, after: int | None, limit: int
) -> None:
    store = HeldStore()
    store.kept[RECENT] = {Seq(seq): stored(RECENT, seq) for seq in saved}
    async with a_bench(store) as bench:
        for number in range(published):
            await bench.publish(f"k{number}", RECENT)
        written = sorted(saved) + [max(saved) + 1 + number for number in range(published)]
        # Older messages that memory pushed out before they were saved are nowhere; the others must all be found.
        there = sorted(saved | set(written[-10:]))
        if after is not None:
            expected = [seq for seq in there if seq > after][:limit]
        else:
            expected = [seq for seq in there if before is None or seq < before][-limit:]
        assert await _page(bench, before, after, limit) == expected


async def test_what_memory_forgets_while_the_store_is_read_is_in_the_page_once(bench: Bench) -> None:
    store = bench.store
    store.kept[RECENT] = {Seq(seq): stored(RECENT, seq) for seq in range(1, 21)}
    await bench.broker.history(RECENT, before=None, after=None, limit=1)
    store.reads_wait = True
    pages: list[list[int]] = []

    async def read(after: int | None) -> None:
        pages.append(await _page(bench, None, after, 30))

    bench.nursery.start_soon(read, None)
    bench.nursery.start_soon(read, 0)
    await wait_all_tasks_blocked()
    for number in range(12):
        await bench.publish(f"k{number}", RECENT)
    store.let_read(2)
    await wait_all_tasks_blocked()
    assert pages == [list(range(1, 21))] * 2


async def test_a_page_that_lies_in_memory_costs_no_read(bench: Bench) -> None:
    bench.store.kept[RECENT] = {Seq(seq): stored(RECENT, seq) for seq in range(1, 21)}
    await _page(bench, None, None, 1)
    reads = bench.store.reads
    assert await _page(bench, None, None, 10) == list(range(11, 21))
    assert await _page(bench, 16, None, 5) == list(range(11, 16))
    assert await _page(bench, None, 10, 30) == list(range(11, 21))
    assert bench.store.reads == reads


async def _page(bench: Bench, before: int | None, after: int | None, limit: int) -> list[int]:
    page = await bench.broker.history(
        RECENT,
        before=None if before is None else Seq(before),
        after=None if after is None else Seq(after),
        limit=limit,
    )
    return [message.seq for message in page]


# Recent channels over restarts.


async def test_after_a_crash_a_recent_channel_is_reborn_and_no_seq_is_used_twice() -> None:
    store = HeldStore()
    for seq in (1, 2, 3):
        store.kept.setdefault(RECENT, {})[Seq(seq)] = stored(RECENT, seq)
    async with a_bench(store) as bench:
        await bench.broker.start()
        reader = Reader(bench.desk, RECENT)
        reader.cursor = (Epoch("old"), Seq(3))
        assert not await reader.come()
        place = (await bench.publish("k", RECENT)).place
        assert place.seq > 3 + REBIRTH_JUMP // 2
        assert place.epoch != "old"
        assert await _history(bench, RECENT) == [1, 2, 3, place.seq]


async def test_a_channel_that_lost_its_first_messages_uses_no_place_twice() -> None:
    store = HeldStore()
    places = []
    for life in range(2):
        async with a_bench(store) as bench:
            await bench.broker.start()
            places += [(await bench.publish(f"{life}{channel}", channel)).place for channel in (RECENT, PASSING)]
    assert [place.seq for place in places] == [1, 1, 1, 1]
    assert len({place.epoch for place in places}) == 4


async def test_after_a_clean_stop_a_recent_channel_goes_on() -> None:
    store = HeldStore()
    epochs = []
    for life in range(3):
        async with a_bench(store) as bench:
            await bench.broker.start()
            epochs.append((await bench.publish(f"k{life}", RECENT)).place)
            bench.nursery.start_soon(_keep_all, store)
            await bench.broker.stop()
    assert [(place.epoch, place.seq) for place in epochs] == [(epochs[0].epoch, seq) for seq in (1, 2, 3)]


async def test_what_a_crash_lost_is_not_forgotten_by_later_clean_starts() -> None:
    store, clock = HeldStore(), HandClock()
    async with a_bench(store) as bench:
        await bench.broker.start()
        bench.nursery.start_soon(bench.broker.run)
        for number in range(3):
            await bench.publish(f"lost-{number}", RECENT)
        lost = bench.desk.delivered[-1].place
        store.kept[RECENT] = {Seq(1): bench.desk.delivered[0]}  # it crashes: the others were never saved
        store.meta.clear()
    for life in range(1, 4):
        async with a_bench(store) as bench:
            bench.clock.now = clock.now + 10 * life
            await bench.broker.start()
            if life == 3:
                reader = Reader(bench.desk, RECENT)
                reader.cursor = (lost.epoch, lost.seq)
                assert not await reader.come()
                place = (await bench.publish("next", RECENT)).place
                assert place.seq > REBIRTH_JUMP
                assert place.epoch != lost.epoch
            bench.nursery.start_soon(_keep_all, store)
            await bench.broker.stop()


async def test_a_recent_channel_of_a_restored_backup_is_reborn() -> None:
    store = HeldStore()
    store.kept[RECENT] = {Seq(1): stored(RECENT, 1, at=1000)}
    store.meta = {COPIED_AT: "1000", "recent_channels_saved": "900"}
    async with a_bench(store) as bench:
        await bench.broker.start()
        place = (await bench.publish("next", RECENT)).place
        assert place.seq > REBIRTH_JUMP
        assert place.epoch != "old"


async def _keep_all(store: HeldStore) -> None:
    while True:
        store.release_all()
        await trio.lowlevel.checkpoint()


async def _history(bench: Bench, channel: ChannelName) -> list[int]:
    return [message.seq for message in await bench.broker.history(channel, before=None, after=None, limit=100)]


# Channels in memory.


async def test_channels_nobody_uses_leave_memory_and_come_back_as_they_were(mock_clock: MockClock) -> None:
    async with a_bench(idle_seconds=10.0) as bench:
        bench.nursery.start_soon(bench.broker.run)
        channels = [DURABLE, RECENT]
        before = [(await bench.publish("a" + channel, channel)).place for channel in channels]
        bench.desk.in_use.add(OTHER)
        await bench.publish("used", OTHER)
        for _ in range(10):
            await wait_all_tasks_blocked()
            bench.clock.advance(2.5)
            mock_clock.jump(2.5)
            await wait_all_tasks_blocked()
            await bench.finish()
        assert bench.broker.statistics().open_channels == 1
        after = [(await bench.publish("b" + channel, channel)).place for channel in channels]
        assert [(place.epoch, place.seq) for place in after] == [(place.epoch, place.seq + 1) for place in before]


async def test_a_channel_that_is_written_to_stays_in_memory(mock_clock: MockClock) -> None:
    async with a_bench(idle_seconds=10.0) as bench:
        bench.nursery.start_soon(bench.broker.run)
        await bench.publish("first")
        reads = bench.store.reads
        for number in range(20):
            await wait_all_tasks_blocked()
            bench.clock.advance(2.5)
            mock_clock.jump(2.5)
            await wait_all_tasks_blocked()
            await bench.publish(f"k{number}")
        assert bench.store.reads == reads


async def test_a_full_memory_makes_room_from_idle_channels_only() -> None:
    async with a_bench(open_channels=3) as bench:
        bench.desk.in_use |= {ChannelName("track:0"), ChannelName("track:1")}
        for number in range(3):
            await bench.publish(f"k{number}", f"track:{number}")
        assert (await bench.publish("k3", "track:3")).place.seq == 1  # track:2 was idle
        assert bench.broker.statistics().open_channels == 3
        bench.desk.in_use.add(ChannelName("track:3"))
        assert codes(await bench.begin("k4", channel="track:4")) == [ErrorCode.UNAVAILABLE]
        with pytest.raises(TooManyChannels):
            await bench.broker.recover(ChannelName("track:4"), None, lambda: None)
        with pytest.raises(TooManyChannels):
            await bench.broker.history(ChannelName("track:4"), before=None, after=None, limit=1)
        assert (await bench.publish("k5", "track:0")).place.seq == 2
        bench.desk.in_use.clear()
        assert (await bench.publish("k4", "track:4")).place.seq == 1


async def test_a_channel_whose_messages_are_being_stored_stays() -> None:
    async with a_bench(open_channels=1) as bench:
        answers = await bench.begin("a")
        assert codes(await bench.begin("b", channel=OTHER)) == [ErrorCode.UNAVAILABLE]
        await bench.finish()
        assert seqs(answers) == [1]
        assert (await bench.publish("b", OTHER)).place.seq == 1


async def test_a_channel_whose_messages_the_store_refused_may_go() -> None:
    async with a_bench(open_channels=1) as bench:
        await bench.publish("a")
        bench.store.is_busy = True
        assert codes(await bench.begin("b")) == [ErrorCode.UNAVAILABLE]
        bench.store.is_busy = False
        assert (await bench.publish("c", OTHER)).place.seq == 1


async def test_a_recent_channel_that_is_not_saved_yet_stays() -> None:
    async with a_bench(open_channels=1) as bench:
        await bench.publish("a", RECENT)
        assert codes(await bench.begin("b")) == [ErrorCode.UNAVAILABLE]


async def test_room_is_found_behind_very_many_channels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatd.broker.logs._ROOM_LOOKS", 10)
    async with a_bench(open_channels=100) as bench:
        for number in range(100):
            await bench.publish(f"k{number}", f"track:{number}")
        bench.desk.in_use |= {ChannelName(f"track:{number}") for number in range(99)}
        refusals = 0
        while codes(await bench.begin("new", channel="track:new")) == [ErrorCode.UNAVAILABLE]:
            refusals += 1
            assert refusals < 10
        await bench.finish()
        assert bench.desk.seqs("track:new") == [1]


async def test_one_publish_to_more_channels_than_fit_is_refused() -> None:
    async with a_bench(open_channels=1) as bench:
        with trio.fail_after(5):
            answers = await bench.desk.publish(draft("a"), draft("b", OTHER))
        assert codes(answers) == [ErrorCode.UNAVAILABLE] * 2
        assert (await bench.publish("a")).place.seq == 1


# Every order of things.


class Scene:
    """Random steps on a bench, with readers who hold the broker to its promises."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.readers = [Reader(bench.desk, channel) for channel in (DURABLE, DURABLE, OTHER, RECENT)]
        self.coming: set[int] = set()
        self.count = 0
        self.answers: list[Answers] = []
        self.denied: set[str] = set()

    async def publish(self, number: int) -> None:
        """Begin to publish to some channels."""
        channels = [DURABLE, OTHER, RECENT, PASSING][: number % 4 + 1]
        self.count += 1
        drafts = [draft(f"{self.count}-{channel}", channel, retry=number > 5) for channel in channels]
        answers: Answers = []
        self.answers.append(answers)

        async def publish() -> None:
            answers.extend(await self.bench.desk.publish(*drafts))

        self.bench.nursery.start_soon(publish)

    async def read(self, number: int) -> None:
        """Let a reader come, or leave."""
        index = number % len(self.readers)
        reader = self.readers[index]
        if index in self.coming:
            return
        reader.leave()
        if number % 2:

            async def come() -> None:
                await reader.come()
                self.coming.discard(index)

            self.coming.add(index)
            self.bench.nursery.start_soon(come)

    async def release(self, number: int) -> None:
        """Let the store keep some writes."""
        self.bench.store.release(number % 3 + 1)

    async def keep(self, _: int) -> None:
        """Let the store keep a write without telling."""
        if self.bench.store.waiting:
            self.bench.store.keep()

    async def fail(self, _: int) -> None:
        """Let the store lose what waits."""
        self.bench.store.fail()

    async def deny(self, number: int) -> None:
        """Let the store lose what waits, but for some writes that it keeps without knowing."""
        store = self.bench.store
        store.tell()
        for _ in range(min(number % 3 + 1, len(store.waiting))):
            self.denied |= {message.key for message in store.waiting[0][0]}
            store.deny()
        store.fail()

    async def busy(self, number: int) -> None:
        """Let the store refuse writes, or take them again."""
        self.bench.store.is_busy = number % 3 == 0

    async def slow_reads(self, number: int) -> None:
        """Let reads wait, or go on."""
        self.bench.store.reads_wait = number % 2 == 0

    async def let_read(self, number: int) -> None:
        """Let some waiting reads go on."""
        self.bench.store.let_read(number % 3 + 1)

    async def end(self) -> None:
        """Let everything come to its end."""
        store = self.bench.store
        store.reads_wait = store.is_busy = False
        for _ in range(20):
            store.let_read(100)
            store.release_all()
            await wait_all_tasks_blocked()
        for channel in (DURABLE, OTHER):
            await self.bench.broker.recover(ChannelName(channel), None, lambda: None)
        assert not self.coming
        assert not store.waiting
        for reader in self.readers:
            reader.leave()

    def check(self) -> None:
        """Hold what came of it to what was promised."""
        delivered = self.bench.desk.delivered
        answered = [answer for answers in self.answers for answer in answers]
        published = {answer.place for answer in answered if isinstance(answer, Published)}
        for channel in (DURABLE, OTHER):
            places = [message.place for message in delivered if message.channel == channel]
            assert [place.seq for place in places] == list(range(1, len(places) + 1))
            assert [message.place for message in self.bench.store.kept.get(channel, {}).values()] == places
        assert published == {message.place for message in delivered if message.key not in self.denied}
        assert len({(message.sender, message.key) for message in delivered}) == len(delivered)
        for reader in self.readers:
            reader.leave()


Step = Callable[[Scene, int], Awaitable[None]]
STEPS: list[Step] = [
    Scene.publish,
    Scene.publish,
    Scene.publish,
    Scene.read,
    Scene.read,
    Scene.release,
    Scene.keep,
    Scene.fail,
    Scene.deny,
    Scene.busy,
    Scene.slow_reads,
    Scene.let_read,
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11), st.booleans()), max_size=60))
async def test_readers_see_everything_once_and_in_order_whatever_happens(
    steps: list[tuple[Step, int, bool]],
) -> None:
    async with a_bench(open_channels=3) as bench:
        scene = Scene(bench)
        for step, number, is_settled in steps:
            await step(scene, number)
            if is_settled:
                await wait_all_tasks_blocked()
        await scene.end()
        scene.check()


def test_the_scene_uses_channels_of_every_kind() -> None:
    kinds = [NAMESPACES[name.partition(":")[0]].history for name in (DURABLE, OTHER, RECENT, PASSING)]
    assert kinds == ["durable", "durable", "recent", "none"]


# Without waiting.


async def test_what_need_not_wait_is_placed_and_delivered_at_once(bench: Bench) -> None:
    await bench.publish("a", RECENT)
    placed = bench.broker.publish_at_once([draft(key, ChannelName(RECENT)) for key in "bc"])
    messages = [message for message, _ in placed]
    assert [(message.seq, message.key) for message in messages] == [(2, "b"), (3, "c")]
    assert bench.desk.delivered[-2:] == messages
    for message in messages:
        again = await bench.publish(message.key, RECENT, retry=True)
        assert again == Published(message.place, duplicate=True)
    assert bench.broker.statistics().published == 3
    assert (await bench.publish("d", RECENT)).place.seq == 4


async def test_what_has_to_wait_is_not_begun(bench: Bench) -> None:
    await bench.publish("a", RECENT)
    await bench.begin("durable")
    for wanted in (
        draft("b", ChannelName("room:not-in-memory")),
        draft("a", ChannelName(RECENT)),
        draft("c", ChannelName(RECENT), retry=True),
        draft("d"),
    ):
        assert bench.broker.publish_at_once([wanted]) == []
    assert (await bench.publish("e", RECENT)).place.seq == 2
