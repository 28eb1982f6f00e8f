"""The saver writes recent channels in turn, a bounded number of messages a second, and gives up on nothing it has."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
from trio.testing import MockClock

from chatd.broker.log import Log
from chatd.broker.saver import Saver
from chatd.config import NAMESPACES, Config
from protocol.names import ChannelName, Epoch, Seq
from storage import StoreBusy, StoreUnavailable
from tests.fakes.held_store import HeldStore, stored

# 10 rows each time, once a second.
CONFIG = msgspec.structs.replace(Config().broker, save_seconds=1.0, save_rows_per_second=10)


class Rooms:
    """Channels whose messages a saver saves."""

    def __init__(self) -> None:
        self.store = HeldStore()
        self.saver = Saver(self.store.as_store(), CONFIG)

    def room(self, name: str, size: int = 100) -> Log:
        """Make a channel."""
        return Log(ChannelName(name), NAMESPACES["room"], Epoch("old"), Seq(0), size)

    def write(self, log: Log, count: int) -> None:
        """Let messages arrive in it."""
        for _ in range(count):
            log.arrived(stored(log.channel, log.delivered + 1))
            self.saver.add(log)

    async def pass_seconds(self, clock: MockClock, seconds: int, *, release: bool = True) -> None:
        """Let time pass, and the store keep what it is given."""
        for _ in range(seconds):
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
            if release:
                self.store.release_all()
                await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def rooms(nursery: trio.Nursery) -> AsyncIterator[Rooms]:
    """A running saver."""
    made = Rooms()
    nursery.start_soon(made.saver.run)
    yield made
    nursery.cancel_scope.cancel()


async def test_messages_are_saved_soon_and_once(rooms: Rooms, mock_clock: MockClock) -> None:
    log = rooms.room("room:a")
    rooms.write(log, 3)
    assert rooms.store.seqs("room:a") == []
    await rooms.pass_seconds(mock_clock, 1)
    assert (rooms.store.seqs("room:a"), log.saved) == ([1, 2, 3], 3)
    await rooms.pass_seconds(mock_clock, 1, release=False)
    assert not rooms.store.waiting
    rooms.write(log, 2)
    await rooms.pass_seconds(mock_clock, 1, release=False)
    [(messages, _)] = rooms.store.waiting
    assert [message.seq for message in messages] == [4, 5]


async def test_no_more_rows_are_written_than_the_bound_allows(rooms: Rooms, mock_clock: MockClock) -> None:
    log = rooms.room("room:a")
    rooms.write(log, 35)
    for expected in (10, 20, 30, 35):
        await rooms.pass_seconds(mock_clock, 1)
        assert rooms.store.seqs("room:a") == list(range(1, expected + 1))


async def test_every_channel_gets_its_turn(rooms: Rooms, mock_clock: MockClock) -> None:
    busy, quiet = rooms.room("room:busy"), rooms.room("room:quiet")
    rooms.write(busy, 30)
    rooms.write(quiet, 1)
    await rooms.pass_seconds(mock_clock, 1)
    assert rooms.store.seqs("room:quiet") == []
    await rooms.pass_seconds(mock_clock, 1)
    assert rooms.store.seqs("room:quiet") == [1]


async def test_under_more_load_the_newest_are_saved_and_the_forgotten_never(
    rooms: Rooms, mock_clock: MockClock
) -> None:
    log = rooms.room("room:a", size=20)
    for _ in range(10):
        rooms.write(log, 50)
        await rooms.pass_seconds(mock_clock, 1)
    await rooms.pass_seconds(mock_clock, 2)
    saved = rooms.store.seqs("room:a")
    assert saved[-20:] == list(range(481, 501))
    assert len(saved) < 500
    assert log.saved == 500


async def test_messages_that_come_while_others_are_saved_are_saved_next(rooms: Rooms, mock_clock: MockClock) -> None:
    log = rooms.room("room:a")
    rooms.write(log, 2)
    await rooms.pass_seconds(mock_clock, 1, release=False)
    rooms.write(log, 2)
    await rooms.pass_seconds(mock_clock, 0)
    rooms.store.release_all()
    await rooms.pass_seconds(mock_clock, 1)
    assert rooms.store.seqs("room:a") == [1, 2, 3, 4]


async def test_what_a_failing_store_refused_is_tried_again(rooms: Rooms, mock_clock: MockClock) -> None:
    log = rooms.room("room:a")
    rooms.write(log, 3)
    rooms.store.is_busy = True
    await rooms.pass_seconds(mock_clock, 3)
    rooms.store.is_busy = False
    await rooms.pass_seconds(mock_clock, 1, release=False)
    rooms.store.fail(StoreUnavailable("the disk is full"))
    rooms.write(log, 1)
    assert log.saved == 0
    await rooms.pass_seconds(mock_clock, 1)
    assert rooms.store.seqs("room:a") == [1, 2, 3, 4]


async def test_save_all_leaves_nothing_behind(nursery: trio.Nursery) -> None:
    rooms = Rooms()
    logs = [rooms.room(f"room:{number}") for number in range(3)]
    for log in logs:
        rooms.write(log, 25)

    async def keep() -> None:
        while True:
            rooms.store.release_all()
            await trio.lowlevel.checkpoint()

    nursery.start_soon(keep)
    await rooms.saver.save_all()
    assert [rooms.store.seqs(log.channel) for log in logs] == [list(range(1, 26))] * 3
    nursery.cancel_scope.cancel()


async def test_save_all_says_when_it_cannot() -> None:
    rooms = Rooms()
    rooms.write(rooms.room("room:a"), 1)
    rooms.store.is_busy = True
    with pytest.raises(StoreBusy):
        await rooms.saver.save_all()
