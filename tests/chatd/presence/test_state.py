"""Who is online: the table of transitions as stories, and the promise that a snapshot and events stay true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.presence.state import SHOWN, TRANSITIONS, Moment, PresenceState, Sign, State
from protocol.messages import UserState
from protocol.names import UserId

ALICE, BOB = UserId("alice"), UserId("bob")
GRACE = 10.0
ALL = 1000


def at(seconds: float) -> Moment:
    return Moment(seconds, int(seconds * 1000))


def shown(user: UserId, state: str, seconds: float) -> UserState:
    return UserState(user=user, state=state, last_seen=int(seconds * 1000))


def new_state(remembered_users: int = 100) -> PresenceState:
    return PresenceState(GRACE, remembered_users)


def test_the_first_session_makes_a_user_online_and_the_second_changes_nothing() -> None:
    state = new_state()
    assert state.opened(ALICE, "phone", at(1)) == shown(ALICE, "online", 1)
    assert state.opened(ALICE, "desk", at(2)) is None
    assert state.states([ALICE, BOB]) == {ALICE: shown(ALICE, "online", 1)}


def test_a_user_is_away_when_all_sessions_are_and_online_when_one_is_not() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    state.opened(ALICE, "desk", at(1))
    assert state.status(ALICE, "phone", "away", at(2)) is None
    assert state.status(ALICE, "phone", "away", at(3)) is None
    assert state.status(ALICE, "desk", "away", at(4)) == shown(ALICE, "away", 4)
    assert state.status(ALICE, "phone", "online", at(5)) == shown(ALICE, "online", 5)
    assert state.closed(ALICE, "phone", at(6)) == shown(ALICE, "away", 6)
    assert state.opened(ALICE, "phone", at(7)) == shown(ALICE, "online", 7)


def test_the_end_of_an_idle_session_leaves_the_others_as_they_are() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    state.opened(ALICE, "desk", at(1))
    state.status(ALICE, "desk", "away", at(2))
    assert state.closed(ALICE, "desk", at(3)) is None
    assert state.status(ALICE, "phone", "away", at(4)) == shown(ALICE, "away", 4)


def test_a_user_is_offline_only_after_the_grace_time_and_only_once() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    assert state.closed(ALICE, "phone", at(5)) is None
    assert state.expire(at(14.9), ALL) == []
    assert state.states([ALICE]) == {ALICE: shown(ALICE, "online", 1)}
    assert state.expire(at(15), ALL) == [shown(ALICE, "offline", 5)]
    assert state.expire(at(100), ALL) == []
    assert state.states([ALICE]) == {ALICE: shown(ALICE, "offline", 5)}


def test_coming_back_within_the_grace_time_changes_nothing() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    state.closed(ALICE, "phone", at(5))
    assert state.opened(ALICE, "phone again", at(14)) is None
    assert state.expire(at(100), ALL) == []
    assert state.states([ALICE]) == {ALICE: shown(ALICE, "online", 1)}


def test_each_leaving_begins_a_grace_time_of_its_own() -> None:
    state = new_state()
    state.opened(ALICE, "one", at(0))
    state.closed(ALICE, "one", at(1))
    state.opened(BOB, "b", at(1))
    state.closed(BOB, "b", at(2))
    state.opened(ALICE, "two", at(3))
    state.closed(ALICE, "two", at(4))
    assert state.expire(at(12), ALL) == [shown(BOB, "offline", 2)]
    assert state.expire(at(14), ALL) == [shown(ALICE, "offline", 4)]


def test_an_away_user_who_comes_back_is_online() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    state.status(ALICE, "phone", "away", at(2))
    assert state.closed(ALICE, "phone", at(3)) is None
    assert state.opened(ALICE, "phone", at(4)) == shown(ALICE, "online", 4)


def test_an_away_user_who_stays_away_is_offline_after_the_grace_time() -> None:
    state = new_state()
    state.opened(ALICE, "phone", at(1))
    state.status(ALICE, "phone", "away", at(2))
    state.closed(ALICE, "phone", at(3))
    assert state.expire(at(13), ALL) == [shown(ALICE, "offline", 3)]


def test_those_due_are_given_in_slices() -> None:
    state = new_state()
    users = [UserId(f"user{number}") for number in range(5)]
    for user in users:
        state.opened(user, user, at(0))
        state.closed(user, user, at(0))
    assert [change.user for change in state.expire(at(10), 2)] == users[:2]
    state.opened(users[2], "back", at(10))
    assert [change.user for change in state.expire(at(10), 10)] == users[3:]


@pytest.mark.parametrize("session", ["never opened", "closed"])
def test_an_unknown_session_changes_nothing(session: str) -> None:
    state = new_state()
    assert state.closed(ALICE, session, at(0)) is None
    state.opened(ALICE, "phone", at(1))
    state.opened(ALICE, "closed", at(1))
    state.closed(ALICE, "closed", at(1))
    assert state.closed(ALICE, session, at(2)) is None
    assert state.status(ALICE, session, "away", at(2)) is None
    assert state.states([ALICE]) == {ALICE: shown(ALICE, "online", 1)}


def test_offline_users_are_remembered_up_to_the_limit() -> None:
    state = new_state(remembered_users=2)
    state.remember(ALICE, 1)
    state.remember(BOB, 2)
    state.states([ALICE])
    state.remember(UserId("carol"), 3)
    assert state.states([ALICE, BOB]).keys() == {ALICE}


def test_what_the_store_says_never_replaces_what_is_newer() -> None:
    state = new_state()
    state.remember(ALICE, 9)
    state.remember(ALICE, 5)
    state.opened(BOB, "b", at(1))
    state.remember(BOB, 5)
    assert state.states([ALICE, BOB]) == {
        ALICE: UserState(user=ALICE, state="offline", last_seen=9),
        BOB: shown(BOB, "online", 1),
    }


def test_present_are_those_with_a_session() -> None:
    state = new_state()
    state.opened(ALICE, "a", at(0))
    state.opened(BOB, "b", at(0))
    state.closed(BOB, "b", at(0))
    assert state.present() == [ALICE]


def test_every_state_has_a_way_to_offline_and_back() -> None:
    for start in State:
        reached, waiting = {start}, [start]
        while waiting:
            new = set(TRANSITIONS[waiting.pop()].values()) - reached
            reached |= new
            waiting += new
        assert reached >= {State.OFFLINE, State.ONLINE, State.AWAY}, start
    assert SHOWN.keys() == set(State)
    assert all(Sign.IN_USE in signs for signs in TRANSITIONS.values())


USERS = [ALICE, BOB]
STEP = st.one_of(
    st.tuples(st.just("opened"), st.sampled_from(USERS), st.integers(0, 2)),
    st.tuples(st.just("closed"), st.sampled_from(USERS), st.integers(0, 2)),
    st.tuples(st.just("away"), st.sampled_from(USERS), st.integers(0, 2)),
    st.tuples(st.just("online"), st.sampled_from(USERS), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from(USERS), st.integers(1, 12)),
)


@given(st.lists(STEP, max_size=60), st.integers(0, 60))
def test_a_stale_snapshot_and_events_equal_a_fresh_snapshot(
    steps: list[tuple[str, UserId, int]], snapshot_at: int
) -> None:
    state, now = new_state(), 0.0
    model: dict[UserId, UserState] = {}
    for number, (step, user, value) in enumerate(steps):
        if number == snapshot_at:
            model = state.states(USERS)
        session = f"{user} {value}"
        changes: list[UserState | None] = []
        match step:
            case "opened":
                changes = [state.opened(user, session, at(now))]
            case "closed":
                changes = [state.closed(user, session, at(now))]
            case "away":
                changes = [state.status(user, session, "away", at(now))]
            case "online":
                changes = [state.status(user, session, "online", at(now))]
            case _:
                now += value
                changes = [*state.expire(at(now), ALL)]
        for change in changes:
            if change is not None:
                assert change.state != model.get(change.user, shown(user, "offline", 0)).state
                model[change.user] = change
    assert model == state.states(USERS)
