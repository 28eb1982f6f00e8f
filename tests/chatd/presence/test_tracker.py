"""The presence task: what it tells and when, what it saves, and a store that fails."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import structlog
import trio
from trio.testing import MockClock, assert_no_checkpoints

from chatd.config import Namespace, Presence
from chatd.presence import Readers
from chatd.presence.tracker import PresenceEvent, PresenceTracker
from protocol.messages import Count, Joined, PresenceChanged, UserState
from protocol.names import ChannelName, UserId
from storage import Store, StoreError, StoreUnavailable

ALICE, BOB = UserId("alice"), UserId("bob")
CLUB, ROOM = ChannelName("club:one"), ChannelName("room:one")
NAMESPACES = {"club": Namespace(presence="list"), "room": Namespace(presence="count")}
CONFIG = Presence(grace_seconds=10.0, tick_seconds=1.0, last_seen_save_seconds=5.0)


class FakeStore:
    """Keeps last seen in memory; fails while `error` is set; can do something while it is asked."""

    def __init__(self) -> None:
        self.seen: dict[UserId, int] = {}
        self.saves = 0
        self.error: StoreError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        self.meanwhile()
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.saves += 1
        self.seen.update(seen)

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        self.meanwhile()
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return {user: self.seen[user] for user in users if user in self.seen}


class Node:
    """A tracker with what surrounds it, under a clock that jumps when everybody sleeps."""

    def __init__(self, clock: MockClock, config: Presence = CONFIG) -> None:
        self.clock = clock
        self.store = FakeStore()
        self.events: list[PresenceEvent] = []
        self.tracker = PresenceTracker(
            config, NAMESPACES, cast(Store, self.store), self.events.append, unix_ms=self.unix_ms
        )

    def unix_ms(self) -> int:
        return int(self.clock.current_time() * 1000)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tracker.run)
            yield
            nursery.cancel_scope.cancel()

    def taken(self) -> list[PresenceEvent]:
        events = self.events[:]
        self.events.clear()
        return events


def changed(user: UserId, state: str, last_seen: int) -> PresenceChanged:
    return PresenceChanged(channel=ChannelName(f"presence:{user}"), user=user, state=state, last_seen=last_seen)


async def test_a_user_who_comes_is_told_at_once_and_who_goes_after_the_grace_time(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    async with node.running():
        await trio.sleep(0.5)
        node.tracker.session_opened(ALICE, "s1")
        assert node.taken() == [changed(ALICE, "online", 500)]
        await trio.sleep(1)
        node.tracker.status(ALICE, "s1", "away")
        assert node.taken() == [changed(ALICE, "away", 1500)]
        node.tracker.session_closed(ALICE, "s1")
        await trio.sleep(9)
        assert node.taken() == []
        await trio.sleep(3)
        assert node.taken() == [changed(ALICE, "offline", 1500)]
        await trio.sleep(60)
        assert node.taken() == []


async def test_channels_are_told_once_a_tick(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    async with node.running():
        await trio.sleep(0.5)
        node.tracker.channel_entered(CLUB, ALICE)
        node.tracker.channel_entered(ROOM, ALICE)
        node.tracker.channel_entered(ROOM, BOB)
        assert node.taken() == []
        await trio.sleep(1)
        assert node.taken() == [Joined(channel=CLUB, user=ALICE), Count(channel=ROOM, count=2)]
        node.tracker.channel_left(ROOM, BOB)
        assert await node.tracker.readers(ROOM) == Readers(1, None)
        assert await node.tracker.readers(CLUB) == Readers(1, [ALICE])


async def test_somebody_who_comes_back_between_two_slices_is_not_called_offline_afterwards(
    autojump_clock: MockClock,
) -> None:
    node = Node(autojump_clock)
    users = [UserId(f"user{number}") for number in range(250)]
    last = users[-1]

    async def come_back() -> None:
        while not any(isinstance(event, PresenceChanged) and event.state == "offline" for event in node.events):
            await trio.lowlevel.checkpoint()
        node.tracker.session_opened(last, "back")

    for user in users:
        node.tracker.session_opened(user, "s")
        node.tracker.session_closed(user, "s")
    node.taken()
    async with node.running():
        await trio.sleep(9.5)
        node.clock.autojump_threshold = float("inf")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back)
            node.clock.jump(1)
        node.clock.autojump_threshold = 0
        await trio.sleep(5)
    told = [event for event in node.events if isinstance(event, PresenceChanged)]
    assert last not in {event.user for event in told}
    assert len({event.user for event in told}) == len(told) == 249
    assert await node.tracker.states([last]) == [UserState(user=last, state="online", last_seen=0)]


async def test_last_seen_is_saved_in_batches_and_once_more_at_the_end(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    async with node.running():
        node.tracker.session_opened(ALICE, "a")
        node.tracker.session_opened(BOB, "b")
        await trio.sleep(1)
        node.tracker.session_closed(BOB, "b")
        await trio.sleep(6)
        assert (node.store.saves, node.store.seen) == (1, {ALICE: 0, BOB: 1000})
        await trio.sleep(10)
        assert node.store.saves == 1
    assert (node.store.saves, node.store.seen) == (2, {ALICE: 17000, BOB: 1000})


async def test_states_come_from_memory_then_from_the_store(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    node.store.seen = {BOB: 5}
    node.tracker.session_opened(ALICE, "a")
    with assert_no_checkpoints():
        assert await node.tracker.states([ALICE]) == [UserState(user=ALICE, state="online", last_seen=0)]
    assert await node.tracker.states([ALICE, BOB, UserId("nobody")]) == [
        UserState(user=ALICE, state="online", last_seen=0),
        UserState(user=BOB, state="offline", last_seen=5),
        UserState(user=UserId("nobody"), state="offline"),
    ]
    node.store.error = StoreUnavailable("gone")
    assert await node.tracker.states([BOB]) == [UserState(user=BOB, state="offline", last_seen=5)]


async def test_somebody_who_comes_while_the_store_is_asked_is_online(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    node.store.seen = {BOB: 5}
    node.store.meanwhile = lambda: node.tracker.session_opened(BOB, "b")
    assert await node.tracker.states([BOB]) == [UserState(user=BOB, state="online", last_seen=0)]


async def test_a_store_that_fails_is_logged_once_and_gets_everything_later(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    node.store.error = StoreUnavailable("disk full")
    with structlog.testing.capture_logs() as logs:
        async with node.running():
            node.tracker.session_opened(ALICE, "a")
            await trio.sleep(21)
            assert (await node.tracker.states([BOB])) == [UserState(user=BOB, state="offline")]
            node.store.error = None
            await trio.sleep(5)
            assert node.store.seen == {ALICE: 0}
            node.store.error = StoreUnavailable("full again")
            await node.tracker.states([BOB])
    assert [(entry["log_level"], entry["error"]) for entry in logs] == [
        ("warning", "disk full"),
        ("warning", "full again"),
    ]


async def test_somebody_seen_again_while_last_seen_is_saved_is_saved_again(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    node.store.meanwhile = lambda: node.tracker.session_closed(ALICE, "a")
    async with node.running():
        node.tracker.session_opened(ALICE, "a")
        await trio.sleep(6)
        assert node.store.seen == {ALICE: 0}
        await trio.sleep(5)
        assert node.store.seen == {ALICE: 5000}


async def test_what_waits_for_a_store_that_fails_is_bounded(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock, Presence(remembered_users=2))
    node.store.error = StoreUnavailable("gone")
    async with node.running():
        for number in range(5):
            user = UserId(f"user{number}")
            node.tracker.session_opened(user, "s")
            node.tracker.session_closed(user, "s")
        await trio.sleep(6)
        node.store.error = None
        await trio.sleep(5)
    assert node.store.seen.keys() == {"user3", "user4"}


async def test_another_configuration_counts_from_the_next_change(autojump_clock: MockClock) -> None:
    node = Node(autojump_clock)
    async with node.running():
        node.tracker.reload(Presence(grace_seconds=0.0, tick_seconds=1.0, list_users=0), NAMESPACES)
        node.tracker.session_opened(ALICE, "a")
        node.tracker.session_closed(ALICE, "a")
        node.tracker.channel_entered(CLUB, ALICE)
        await trio.sleep(1.5)
        assert node.taken() == [
            changed(ALICE, "online", 0),
            changed(ALICE, "offline", 0),
            Count(channel=CLUB, count=1),
        ]
