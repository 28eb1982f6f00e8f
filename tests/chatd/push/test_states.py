"""The state machine of a push, as a table of decisions."""

from typing import Any

import pytest

from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.preferences import Wishes
from chatd.push.states import Again, End, Facts, HandOver, Hold, backoff, decide, settle
from tests.chatd.push.contents import AT, HOUR, content

QUIET = Wishes(quiet_from="00:00", quiet_to="23:59", time_zone="UTC")


def facts(**given: Any) -> Facts:
    fields = {"is_looking": False, "is_connected": False, "read": 0, "wishes": Wishes(), "is_mentioned": False}
    return Facts(**{**fields, **given})


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ({}, HandOver()),
        ({"is_looking": True}, End.LIVE),
        ({"is_connected": True}, End.LIVE),
        ({"read": 1}, End.READ),
        ({"read": 0}, HandOver()),
        ({"wishes": Wishes(muted_until=AT + 1)}, End.MUTED),
        ({"wishes": Wishes(muted_until=AT)}, HandOver()),
        ({"wishes": Wishes(mentions_only=True)}, End.UNMENTIONED),
        ({"wishes": Wishes(mentions_only=True), "is_mentioned": True}, HandOver()),
        ({"wishes": Wishes(muted_until=AT + 1), "is_mentioned": True}, End.MUTED),
        ({"wishes": QUIET}, End.QUIET),
        ({"wishes": Wishes(quiet_from="07:00", quiet_to="08:30", time_zone="UTC")}, Hold(AT + HOUR // 2)),
    ],
)
def test_a_message_is_pushed_to_who_was_not_told_and_wants_it(given: dict[str, Any], step: object) -> None:
    # AT is 08:00 in UTC.
    assert decide(content({"text": "hi"}), facts(**given), AT) == step


def test_what_is_too_late_is_dropped_whatever_else() -> None:
    assert decide(content({}), facts(is_looking=True), AT + HOUR) is End.EXPIRED


@pytest.mark.parametrize("kind", ["background", "liveactivity"])
def test_what_nobody_hears_does_not_mind_mute_and_quiet_hours(kind: str) -> None:
    wishes = Wishes(muted_until=AT + HOUR, mentions_only=True, quiet_from="00:00", quiet_to="23:59")
    assert decide(content({"push": {"kind": kind}}), facts(wishes=wishes), AT) == HandOver()


def test_a_live_activity_changes_also_while_somebody_looks() -> None:
    assert decide(content({"push": {"kind": "liveactivity"}}), facts(is_looking=True), AT) == HandOver()


def test_a_call_is_for_who_wants_mentions_only_too_and_does_not_ring_at_night() -> None:
    call = content({"push": {"kind": "voip"}})
    assert decide(call, facts(wishes=Wishes(mentions_only=True)), AT) == HandOver()
    assert decide(call, facts(wishes=QUIET), AT) is End.QUIET


@pytest.mark.parametrize(
    ("outcome", "step"),
    [
        (Delivered(), End.PUSHED),
        (Gone("x"), End.GONE),
        (Rejected("x"), End.REJECTED),
        (Unavailable("x"), Again(AT + 2000, "x")),
        (Unavailable("x", 1.0), Again(AT + 2000, "x")),
        (Throttled("x", 9.0), Again(AT + 9000, "x")),
        (Throttled("x", 3600.0), End.EXPIRED),
    ],
)
def test_an_outcome_ends_it_or_brings_another_try(outcome: Outcome, step: object) -> None:
    assert settle(outcome, content({}), AT, 2.0) == step


def test_pauses_double_up_to_their_bound_and_differ() -> None:
    assert [backoff(attempts, 2.0, 60.0, 1.0) for attempts in (1, 2, 3, 6, 10_000)] == [2.0, 4.0, 8.0, 60.0, 60.0]
    assert backoff(3, 2.0, 60.0, 0.0) == 4.0
