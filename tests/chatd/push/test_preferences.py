"""What users wish: kept as texts, laid over each other, and quiet hours on days on which the clock jumps."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from chatd.push.preferences import (
    EVERYWHERE,
    BadWishes,
    ChannelWishes,
    Wishes,
    check,
    from_values,
    quiet_until,
    to_values,
    wishes_of,
)
from protocol.names import ChannelName, UserId
from storage.records import PreferenceRecord

BOB = UserId("bob")
GROUP = ChannelName("group:a")


def at(text: str, zone: str, fold: int = 0) -> int:
    """Return a moment of a wall clock in Unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def record(channel: ChannelName, wishes: ChannelWishes, user: UserId = BOB) -> PreferenceRecord:
    return PreferenceRecord(user=user, channel=channel, values=to_values(wishes))


def test_wishes_come_back_as_they_were_kept() -> None:
    wishes = Wishes(muted_until=5, mentions_only=True, quiet_from="22:00", quiet_to="07:00", time_zone="Asia/Tokyo")
    assert from_values(to_values(wishes)) == wishes
    assert to_values(Wishes()) == {}


@pytest.mark.parametrize("values", [{"muted_until": "x"}, {"muted_until": '"x"'}, {"unknown": "1"}, {"quiet_to": "25"}])
def test_what_cannot_be_read_is_not_wished(values: dict[str, str]) -> None:
    assert from_values(values) == Wishes()


def test_what_is_said_of_a_channel_counts_before_what_is_said_of_all() -> None:
    everywhere = record(EVERYWHERE, Wishes(muted_until=5, mentions_only=True, locale="de"))
    here = record(GROUP, ChannelWishes(muted_until=9, mentions_only=False))
    found = wishes_of(BOB, GROUP, [everywhere, here, record(GROUP, ChannelWishes(muted_until=99), UserId("carol"))])
    assert (found.muted_until, found.mentions_only, found.locale) == (9, False, "de")
    found = wishes_of(BOB, ChannelName("group:b"), [everywhere, here])
    assert (found.muted_until, found.mentions_only) == (5, True)


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(quiet_from="22:00"),
        Wishes(quiet_to="22:00"),
        Wishes(time_zone="Europe/Nowhere"),
        Wishes(time_zone="../x"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wishes: Wishes) -> None:
    with pytest.raises(BadWishes):
        check(wishes)


def test_wishes_that_make_sense_are_taken() -> None:
    check(ChannelWishes(muted_until=1))
    check(Wishes(quiet_from="22:00", quiet_to="07:00", time_zone="Europe/Vienna"))


@pytest.mark.parametrize(
    ("begin", "end", "now", "until"),
    [
        ("22:00", "07:00", "2026-06-01T21:59", None),
        ("22:00", "07:00", "2026-06-01T22:00", "2026-06-02T07:00"),
        ("22:00", "07:00", "2026-06-02T06:59", "2026-06-02T07:00"),
        ("22:00", "07:00", "2026-06-02T07:00", None),
        ("13:00", "14:00", "2026-06-01T13:30", "2026-06-01T14:00"),
        ("13:00", "14:00", "2026-06-01T12:59", None),
        ("00:00", "23:59", "2026-06-01T00:00", "2026-06-01T23:59"),
        ("09:00", "09:00", "2026-06-01T09:00", None),
        # 29 March 2026: 02:00 becomes 03:00. The night is an hour shorter, and what ends in the gap ends after it.
        ("22:00", "07:00", "2026-03-29T01:59", "2026-03-29T07:00"),
        ("22:00", "02:30", "2026-03-29T01:59", "2026-03-29T03:30"),
        # 25 October 2026: 03:00 becomes 02:00. The night is an hour longer, and the first 02:30 counts.
        ("22:00", "07:00", "2026-10-25T01:00", "2026-10-25T07:00"),
        ("22:00", "02:30", "2026-10-25T02:15", "2026-10-25T02:30"),
    ],
)
def test_quiet_hours_are_those_of_the_users_wall_clock(begin: str, end: str, now: str, until: str | None) -> None:
    zone = "Europe/Vienna"
    wishes = Wishes(quiet_from=begin, quiet_to=end, time_zone=zone)
    assert quiet_until(wishes, at(now, zone)) == (None if until is None else at(until, zone))


def test_the_hour_that_comes_twice_is_quiet_once_when_they_end_in_it() -> None:
    wishes = Wishes(quiet_from="22:00", quiet_to="02:30", time_zone="Europe/Vienna")
    assert quiet_until(wishes, at("2026-10-25T02:15", "Europe/Vienna", fold=1)) is None


def test_the_night_of_the_clock_change_has_as_many_hours_as_it_has() -> None:
    wishes = Wishes(quiet_from="22:00", quiet_to="07:00", time_zone="Europe/Vienna")
    for day, night, hours in (("2026-03-28", "2026-03-29", 8), ("2026-10-24", "2026-10-25", 10)):
        begin = at(f"{day}T22:00", "Europe/Vienna")
        assert quiet_until(wishes, begin) == begin + hours * 3_600_000 == at(f"{night}T07:00", "Europe/Vienna")


def test_two_users_are_quiet_at_their_own_times() -> None:
    now = at("2026-06-01T23:00", "Europe/Vienna")
    assert quiet_until(Wishes(quiet_from="22:00", quiet_to="07:00", time_zone="Europe/Vienna"), now) is not None
    assert quiet_until(Wishes(quiet_from="22:00", quiet_to="07:00", time_zone="America/New_York"), now) is None
    assert quiet_until(Wishes(), now) is None
