"""What every broker must do: the promises of `chatd.broker.Broker`, one test each.

An adapter joins in tests/chatd/broker/test_contract.py with one param of the fixture `open_desk`, which opens a broker
on the same data each time it is called, and stops it in good order at the end of its block.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from chatd.broker import Published
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq
from tests.rig.broker import ALICE, BOB, DURABLE, OTHER, PASSING, RECENT, Desk, Reader, draft

OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]

KEPT = [DURABLE, RECENT]
ALL = [DURABLE, RECENT, PASSING]


async def history(desk: Desk, channel: str = DURABLE, **page: int) -> list[int]:
    """Read the seqs of a page of history."""
    bounds = {name: Seq(page[name]) if name in page else None for name in ("before", "after")}
    messages = await desk.broker.history(ChannelName(channel), limit=page.get("limit", 1000), **bounds)
    return [message.seq for message in messages]


async def publish_many(desk: Desk, count: int, channel: str = DURABLE) -> None:
    """Publish messages with keys of their own, one after the other, and see each delivered."""
    for _ in range(count):
        number = len(desk.delivered)
        await desk.one(draft(f"many-{number}", channel))
        await desk.heard(number + 1)


class PublishContract:
    """Messages get dense seqs, and go out in their order after they are stored."""

    @pytest.mark.parametrize("channel", ALL)
    async def test_seqs_are_dense_and_the_epoch_stays(self, desk: Desk, channel: str) -> None:
        places = [(await desk.one(draft(f"k{n}", channel))).place for n in range(20)]
        assert [place.seq for place in places] == list(range(1, 21))
        assert {place.epoch for place in places} == {places[0].epoch}
        assert [place.at for place in places] == sorted(place.at for place in places)

    async def test_each_draft_gets_its_answer_in_order(self, desk: Desk) -> None:
        drafts = [draft(f"k{n}", (DURABLE, RECENT, OTHER, PASSING)[n % 4]) for n in range(40)]
        assert await desk.placed(*drafts) == [n // 4 + 1 for n in range(40)]

    async def test_nothing_is_placed_for_no_drafts(self, desk: Desk) -> None:
        assert await desk.publish() == []

    @pytest.mark.parametrize("channel", ALL)
    async def test_many_publishers_at_once_leave_no_hole_and_no_seq_is_given_twice(
        self, desk: Desk, channel: str
    ) -> None:
        seqs: list[Seq] = []

        async def publish(sender: int) -> None:
            for number in range(10):
                seqs.extend(await desk.placed(*(draft(f"{number}-{n}", channel, sender=f"u{sender}") for n in "abc")))

        async with trio.open_nursery() as nursery:
            for sender in range(10):
                nursery.start_soon(publish, sender)
        assert sorted(seqs) == list(range(1, 301))
        await desk.heard(300)
        assert desk.seqs(channel) == list(range(1, 301))

    async def test_publishers_to_several_channels_at_once_keep_each_channels_order(self, desk: Desk) -> None:
        channels = [DURABLE, RECENT, OTHER, PASSING]

        async def publish(sender: int) -> None:
            for number in range(10):
                await desk.placed(*(draft(f"{number}-{channel}", channel, sender=f"u{sender}") for channel in channels))

        async with trio.open_nursery() as nursery:
            for sender in range(8):
                nursery.start_soon(publish, sender)
        await desk.heard(320)
        for channel in channels:
            assert desk.seqs(channel) == list(range(1, 81))

    async def test_a_senders_messages_keep_their_order(self, desk: Desk) -> None:
        await desk.placed(*(draft(f"k{n}") for n in range(50)))
        assert [message.key for message in await desk.heard(50)] == [f"k{n}" for n in range(50)]

    @pytest.mark.parametrize("channel", ALL)
    async def test_what_is_delivered_is_what_was_published(self, desk: Desk, channel: str) -> None:
        sent = draft("k", channel, sender="carol", origin="session-1", kind="note")
        published = await desk.one(sent)
        [message] = await desk.heard(1)
        assert message.place == published.place
        assert (message.channel, message.sender, message.key, message.kind) == (channel, "carol", "k", "note")
        assert message.body == sent.body
        assert (desk.drafts[0].origin, desk.drafts[0].audience) == ("session-1", sent.audience)

    async def test_what_is_published_can_be_read_at_once_and_what_is_delivered_too(self, desk: Desk) -> None:
        for number in range(1, 11):
            await desk.one(draft(f"k{number}"))
            assert await history(desk) == list(range(1, number + 1))
        assert await desk.broker.history(DURABLE, before=None, after=None, limit=100) == await desk.heard(10)

    async def test_a_cancelled_publish_leaves_no_hole(self, desk: Desk) -> None:
        for number in range(20):
            with trio.move_on_after(0) if number % 2 else trio.CancelScope():
                await desk.publish(draft(f"k{number}"))
        last = await desk.one(draft("last"))
        await desk.heard(last.place.seq)
        assert desk.seqs() == list(range(1, last.place.seq + 1))
        assert await history(desk) == desk.seqs()

    async def test_statistics_count(self, desk: Desk) -> None:
        await desk.placed(draft("a"), draft("b", RECENT))
        await desk.placed(draft("a"))
        statistics = desk.broker.statistics()
        assert (statistics.published, statistics.duplicates, statistics.waiting) == (2, 1, 0)


class KeyContract:
    """(sender, key) is placed once."""

    @pytest.mark.parametrize("retry", [False, True])
    @pytest.mark.parametrize("channel", ALL)
    async def test_a_resend_gets_the_first_place_and_is_not_sent_out_again(
        self, desk: Desk, channel: str, retry: bool
    ) -> None:
        first = await desk.one(draft("k", channel))
        again = await desk.one(draft("k", channel, retry=retry))
        assert not first.duplicate
        assert again == Published(first.place, duplicate=True)
        await desk.one(draft("k2", channel))
        await desk.heard(2)
        assert desk.seqs(channel) == [1, 2]

    async def test_the_same_key_twice_at_once_is_placed_once(self, desk: Desk) -> None:
        answers: list[Published] = []

        async def publish() -> None:
            answers.append(await desk.one(draft("k", retry=True)))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(publish)
        assert len({answer.place for answer in answers}) == 1
        assert [answer.duplicate for answer in answers].count(False) == 1
        await desk.one(draft("k2"))
        await desk.heard(2)
        assert desk.seqs() == [1, 2]

    async def test_the_same_key_twice_in_one_publish_is_placed_once(self, desk: Desk) -> None:
        first, again = await desk.publish(draft("k"), draft("k"))
        assert isinstance(first, Published)
        assert again == Published(first.place, duplicate=True)
        await desk.heard(1)
        assert desk.seqs() == [1]

    async def test_keys_belong_to_their_senders(self, desk: Desk) -> None:
        assert await desk.placed(draft("k", sender=ALICE), draft("k", sender=BOB)) == [1, 2]

    async def test_a_key_of_another_channel_is_refused(self, desk: Desk) -> None:
        await desk.one(draft("k"))
        assert await desk.refused(draft("k", OTHER)) is ErrorCode.KEY_REUSED
        assert await desk.refused(draft("k", RECENT, retry=True)) is ErrorCode.KEY_REUSED
        assert await desk.placed(draft("k2", OTHER)) == [1]

    @pytest.mark.parametrize("channel", KEPT)
    async def test_a_resend_after_a_restart_finds_the_first_place(self, open_desk: OpenDesk, channel: str) -> None:
        async with open_desk() as desk:
            first = await desk.one(draft("k", channel))
        async with open_desk() as desk:
            assert await desk.one(draft("k", channel, retry=True)) == Published(first.place, duplicate=True)
            assert await desk.refused(draft("k", OTHER, retry=True)) is ErrorCode.KEY_REUSED
            assert desk.delivered == []

    async def test_two_resends_at_once_after_a_restart_are_placed_once(self, open_desk: OpenDesk) -> None:
        async with open_desk() as desk:
            await desk.one(draft("known"))
        async with open_desk() as desk:
            answers: list[list[Seq]] = []

            async def publish() -> None:
                answers.append(await desk.placed(draft("new", retry=True), draft("known", retry=True)))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(publish)
            assert answers == [[2, 1]] * 5
            await desk.heard(1)
            assert desk.seqs() == [2]


class RecoverContract:
    """A reader gets what it missed, then what comes, without a gap or a repeat; or it is told that it cannot."""

    @pytest.mark.parametrize("channel", ALL)
    async def test_without_a_cursor_reading_begins_now(self, desk: Desk, channel: str) -> None:
        await publish_many(desk, 3, channel)
        reader = Reader(desk, ChannelName(channel))
        assert await reader.come()
        await publish_many(desk, 2, channel)
        reader.leave()
        assert [message.seq for message in reader.seen] == [4, 5]

    @pytest.mark.parametrize("missed", [0, 1, 9, 10])
    @pytest.mark.parametrize("channel", KEPT)
    async def test_a_cursor_brings_what_was_missed(self, desk: Desk, channel: str, missed: int) -> None:
        reader = Reader(desk, ChannelName(channel))
        await reader.come()
        await publish_many(desk, 5, channel)
        reader.leave()
        await publish_many(desk, missed, channel)
        assert await reader.come()
        await publish_many(desk, 2, channel)
        reader.leave()
        assert [message.seq for message in reader.seen] == list(range(1, 8 + missed))
        assert reader.seen == desk.delivered

    async def test_a_durable_channel_brings_as_much_as_the_limit_allows_and_no_more(self, desk: Desk) -> None:
        reader = Reader(desk, DURABLE)
        await reader.come()
        await publish_many(desk, 50)
        reader.leave()
        reader.cursor = (desk.delivered[0].epoch, Seq(0))
        reader.seen = []
        assert await reader.come()
        assert len(reader.seen) == 50
        await publish_many(desk, 1)
        late = Reader(desk, DURABLE)
        late.cursor = (desk.delivered[0].epoch, Seq(0))
        assert not await late.come()
        late.cursor = (desk.delivered[0].epoch, Seq(1))
        assert await late.come()

    async def test_a_recent_channel_brings_what_it_remembers_and_no_more(self, desk: Desk) -> None:
        await publish_many(desk, 30, RECENT)
        epoch = desk.delivered[0].epoch
        for seq, recovered in ((30, True), (29, True), (20, True), (19, False), (0, False)):
            reader = Reader(desk, RECENT)
            reader.cursor = (epoch, Seq(seq))
            assert await reader.come() is recovered, seq
            assert reader.cursor == (epoch, 30)

    async def test_a_channel_without_history_brings_nothing(self, desk: Desk) -> None:
        await publish_many(desk, 3, PASSING)
        epoch = desk.delivered[0].epoch
        for seq, recovered in ((3, True), (2, False)):
            reader = Reader(desk, PASSING)
            reader.cursor = (epoch, Seq(seq))
            assert await reader.come() is recovered

    @pytest.mark.parametrize("channel", ALL)
    @pytest.mark.parametrize(
        ("epoch", "seq"),
        [("", 2), ("another", 3), (None, 4), (None, 2**53), (None, 10**30), (None, -1), (None, -(10**30)), ("a\n", 0)],
    )
    async def test_a_cursor_that_is_not_the_channels_is_told_so(
        self, desk: Desk, channel: str, epoch: str | None, seq: int
    ) -> None:
        await publish_many(desk, 3, channel)
        here = desk.delivered[0].epoch
        joins: list[int] = []
        since = (here if epoch is None else Epoch(epoch), Seq(seq))
        recovery = await desk.broker.recover(ChannelName(channel), since, lambda: joins.append(1))
        assert (recovery.recovered, recovery.messages, joins) == (False, [], [1])
        assert (recovery.epoch, recovery.seq) == (here, 3)

    @pytest.mark.parametrize("channel", KEPT)
    async def test_readers_who_come_and_go_while_many_publish_miss_and_repeat_nothing(
        self, desk: Desk, channel: str
    ) -> None:
        readers = [Reader(desk, ChannelName(channel)) for _ in range(5)]
        recovered: list[bool] = []

        async def publish(sender: int) -> None:
            for number in range(10):
                await desk.placed(draft(str(number), channel, sender=f"u{sender}"))

        async def read(reader: Reader) -> None:
            for _ in range(8):
                recovered.append(await reader.come())
                await desk.placed(draft(f"r{len(recovered)}", channel, sender="reader"))
                reader.leave()

        for reader in readers:
            await reader.come()
            reader.leave()
        async with trio.open_nursery() as nursery:
            for sender in range(3):
                nursery.start_soon(publish, sender)
            for reader in readers:
                nursery.start_soon(read, reader)
        await desk.heard(70)
        if channel == DURABLE:  # the other one may forget faster than a reader comes back
            assert all(recovered)
        for reader in readers:
            if await reader.come() and channel == DURABLE:
                assert reader.seen == desk.delivered

    async def test_a_cursor_holds_over_a_restart_of_a_durable_channel(self, open_desk: OpenDesk) -> None:
        async with open_desk() as desk:
            reader = Reader(desk, DURABLE)
            await reader.come()
            await publish_many(desk, 3)
            reader.leave()
            await desk.placed(*(draft(f"missed-{n}") for n in range(4)))
        async with open_desk() as reader.desk:
            assert await reader.come()
            assert await reader.desk.placed(draft("next")) == [8]
            await reader.desk.heard(1)
            reader.leave()
            assert [message.seq for message in reader.seen] == list(range(1, 9))

    async def test_a_cursor_holds_over_a_clean_restart_of_a_recent_channel(self, open_desk: OpenDesk) -> None:
        async with open_desk() as desk:
            reader = Reader(desk, RECENT)
            await reader.come()
            await publish_many(desk, 3, RECENT)
            reader.leave()
            await desk.placed(*(draft(f"missed-{n}", RECENT) for n in range(4)))
        async with open_desk() as reader.desk:
            assert await reader.come()
            assert await reader.desk.placed(draft("next", RECENT)) == [8]
            await reader.desk.heard(1)
            reader.leave()
            assert [message.seq for message in reader.seen] == list(range(1, 9))


class HistoryContract:
    """History is read in pages, both ways."""

    @pytest.mark.parametrize("channel", KEPT)
    async def test_pages_go_both_ways_in_rising_seq(self, desk: Desk, channel: str) -> None:
        await publish_many(desk, 10, channel)
        assert await history(desk, channel) == list(range(1, 11))
        assert await history(desk, channel, limit=3) == [8, 9, 10]
        assert await history(desk, channel, before=8, limit=3) == [5, 6, 7]
        assert await history(desk, channel, after=3, limit=3) == [4, 5, 6]
        assert await history(desk, channel, after=8) == [9, 10]
        assert await history(desk, channel, before=3) == [1, 2]
        assert await history(desk, channel, before=1) == []
        assert await history(desk, channel, after=10) == []
        assert await history(desk, channel, after=0, limit=1) == [1]
        assert await history(desk, channel, before=2**53 - 1, limit=1) == [10]
        assert await history(desk, channel, after=2**53 - 1) == []

    @pytest.mark.parametrize("channel", ALL)
    async def test_a_channel_that_nobody_wrote_to_is_empty(self, desk: Desk, channel: str) -> None:
        assert await history(desk, channel) == []

    @pytest.mark.parametrize("channel", KEPT)
    async def test_history_outlives_a_restart(self, open_desk: OpenDesk, channel: str) -> None:
        async with open_desk() as desk:
            await publish_many(desk, 5, channel)
            before = desk.delivered
        async with open_desk() as desk:
            assert await desk.broker.history(ChannelName(channel), before=None, after=None, limit=10) == before
            assert await desk.placed(draft("next", channel)) == [6]
            assert await history(desk, channel) == [1, 2, 3, 4, 5, 6]

    async def test_a_durable_channel_longer_than_any_memory_is_read_whole(self, desk: Desk) -> None:
        await desk.placed(*(draft(f"k{n}") for n in range(300)))
        assert await history(desk) == list(range(1, 301))
        assert await history(desk, limit=200) == list(range(101, 301))
        assert await history(desk, limit=5) == list(range(296, 301))
