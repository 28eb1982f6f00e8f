"""Who reads a channel: what a tick tells, the switch between list and count, and snapshots at any time."""

from hypothesis import given
from hypothesis import strategies as st

from chatd.config import Namespace
from chatd.presence.occupancy import Occupancy, OccupancyEvent
from protocol.messages import Count, Joined, Left
from protocol.names import ChannelName, UserId

NAMESPACES = {
    "club": Namespace(presence="list"),
    "room": Namespace(presence="count"),
    "event": Namespace(presence="none"),
    "dm": Namespace(delivery="member", presence="list"),
}
CLUB, ROOM = ChannelName("club:one"), ChannelName("room:one")
USERS = [UserId(name) for name in ("ann", "ben", "cat", "dan", "eve")]
ANN, BEN, CAT, DAN, EVE = USERS


def new_occupancy(list_users: int = 3) -> Occupancy:
    return Occupancy(NAMESPACES, list_users)


def test_a_small_channel_tells_who_came_and_who_went() -> None:
    occupancy = new_occupancy()
    occupancy.enter(CLUB, ANN)
    occupancy.enter(CLUB, BEN)
    assert occupancy.tick() == [Joined(channel=CLUB, user=ANN), Joined(channel=CLUB, user=BEN)]
    assert occupancy.tick() == []
    occupancy.leave(CLUB, ANN)
    assert occupancy.tick() == [Left(channel=CLUB, user=ANN)]
    assert occupancy.users(CLUB) == [BEN]


def test_a_counting_channel_tells_one_count_and_has_no_list() -> None:
    occupancy = new_occupancy()
    for user in USERS:
        occupancy.enter(ROOM, user)
    assert occupancy.tick() == [Count(channel=ROOM, count=5)]
    assert occupancy.count(ROOM) == 5
    assert occupancy.users(ROOM) is None


def test_two_sessions_of_a_user_are_one_user() -> None:
    occupancy = new_occupancy()
    occupancy.enter(CLUB, ANN)
    occupancy.enter(CLUB, ANN)
    occupancy.tick()
    occupancy.leave(CLUB, ANN)
    assert occupancy.tick() == []
    occupancy.leave(CLUB, ANN)
    assert occupancy.tick() == [Left(channel=CLUB, user=ANN)]


def test_coming_and_going_within_one_tick_is_told_to_nobody() -> None:
    occupancy = new_occupancy()
    occupancy.enter(CLUB, ANN)
    occupancy.tick()
    occupancy.enter(CLUB, BEN)
    occupancy.leave(CLUB, BEN)
    occupancy.leave(CLUB, ANN)
    occupancy.enter(CLUB, ANN)
    occupancy.enter(ROOM, ANN)
    occupancy.leave(ROOM, ANN)
    assert occupancy.tick() == []


def test_a_channel_that_grows_too_large_counts_and_lists_again_when_it_shrinks() -> None:
    occupancy = new_occupancy(list_users=3)
    for user in (ANN, BEN, CAT):
        occupancy.enter(CLUB, user)
    assert len(occupancy.tick()) == 3
    occupancy.enter(CLUB, DAN)
    assert occupancy.tick() == [Count(channel=CLUB, count=4)]
    assert occupancy.users(CLUB) is None
    occupancy.enter(CLUB, EVE)
    assert occupancy.tick() == [Count(channel=CLUB, count=5)]
    occupancy.leave(CLUB, ANN)
    occupancy.leave(CLUB, BEN)
    assert occupancy.tick() == [Count(channel=CLUB, count=3)]
    assert occupancy.users(CLUB) == [CAT, DAN, EVE]
    occupancy.leave(CLUB, CAT)
    assert occupancy.tick() == [Left(channel=CLUB, user=CAT)]


def test_growing_and_shrinking_back_within_one_tick_is_told_as_names() -> None:
    occupancy = new_occupancy(list_users=1)
    occupancy.enter(CLUB, ANN)
    occupancy.tick()
    occupancy.enter(CLUB, BEN)
    occupancy.leave(CLUB, ANN)
    assert occupancy.tick() == [Joined(channel=CLUB, user=BEN), Left(channel=CLUB, user=ANN)]


def test_who_changed_before_a_snapshot_is_told_in_any_case() -> None:
    occupancy = new_occupancy()
    occupancy.enter(CLUB, ANN)
    occupancy.enter(CLUB, BEN)
    assert occupancy.users(CLUB) == [ANN, BEN]
    occupancy.leave(CLUB, BEN)
    assert occupancy.tick() == [Joined(channel=CLUB, user=ANN), Left(channel=CLUB, user=BEN)]


def test_a_count_that_changed_before_a_snapshot_is_told_in_any_case() -> None:
    occupancy = new_occupancy()
    occupancy.enter(ROOM, ANN)
    assert occupancy.count(ROOM) == 1
    occupancy.leave(ROOM, ANN)
    assert occupancy.tick() == [Count(channel=ROOM, count=0)]
    assert occupancy.tick() == []


def test_member_channels_and_channels_without_presence_have_nobody() -> None:
    occupancy = new_occupancy()
    for name in ("event:one", "dm:ann:ben", "unheard:of"):
        channel = ChannelName(name)
        occupancy.enter(channel, ANN)
        assert (occupancy.count(channel), occupancy.users(channel)) == (0, None)
        occupancy.leave(channel, ANN)
    assert occupancy.tick() == []


def test_an_empty_channel_of_a_listing_namespace_has_an_empty_list() -> None:
    assert new_occupancy().users(CLUB) == []
    assert new_occupancy().users(ROOM) is None


def test_leaving_without_having_entered_changes_nothing() -> None:
    occupancy = new_occupancy()
    occupancy.leave(CLUB, ANN)
    occupancy.enter(CLUB, BEN)
    occupancy.leave(CLUB, ANN)
    assert occupancy.tick() == [Joined(channel=CLUB, user=BEN)]


def test_a_new_limit_of_the_list_is_told_with_the_next_change() -> None:
    occupancy = new_occupancy(list_users=1)
    for user in (ANN, BEN):
        occupancy.enter(CLUB, user)
    assert occupancy.tick() == [Count(channel=CLUB, count=2)]
    occupancy.reload(NAMESPACES, 3)
    occupancy.enter(CLUB, CAT)
    assert occupancy.tick() == [Count(channel=CLUB, count=3)]
    assert occupancy.users(CLUB) == [ANN, BEN, CAT]


class Reader:
    """A client that follows the rules: it asks once, lays events over the answer, and asks again after a count."""

    def __init__(self, occupancy: Occupancy, channel: ChannelName) -> None:
        self.occupancy = occupancy
        self.channel = channel
        self.ask()

    def ask(self) -> None:
        users = self.occupancy.users(self.channel)
        self.users = None if users is None else set(users)
        self.count = self.occupancy.count(self.channel)

    def on_event(self, event: OccupancyEvent) -> None:
        match event:
            case _ if event.channel != self.channel:
                return
            case Count():
                self.ask()
                assert self.count == event.count
            case Joined() if self.users is not None:
                self.users.add(event.user)
                self.count = len(self.users)
            case Left() if self.users is not None:
                self.users.discard(event.user)
                self.count = len(self.users)
            case _:
                raise AssertionError("a name was told in a channel that counts")


CHANGE = st.tuples(st.booleans(), st.sampled_from([CLUB, ROOM]), st.sampled_from(USERS))
TICKS = st.lists(st.tuples(st.lists(CHANGE, max_size=8), st.lists(CHANGE, max_size=8)), max_size=12)


@given(TICKS, st.integers(0, 4))
def test_a_stale_snapshot_and_events_equal_a_fresh_snapshot(
    ticks: list[tuple[list[tuple[bool, ChannelName, UserId]], list[tuple[bool, ChannelName, UserId]]]],
    list_users: int,
) -> None:
    occupancy = new_occupancy(list_users)
    readers: list[Reader] = []

    def change(changes: list[tuple[bool, ChannelName, UserId]]) -> None:
        for is_entering, channel, user in changes:
            (occupancy.enter if is_entering else occupancy.leave)(channel, user)

    for before, after in ticks:
        change(before)
        readers += [Reader(occupancy, channel) for channel in (CLUB, ROOM)]
        change(after)
        for event in occupancy.tick():
            for reader in readers:
                reader.on_event(event)
        for reader in readers:
            users = occupancy.users(reader.channel)
            assert reader.users == (None if users is None else set(users))
            assert reader.count == occupancy.count(reader.channel)
