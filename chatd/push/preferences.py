"""What users want to be told: mute, mentions only, quiet hours, language; kept as texts, by user and channel.

What is said for one channel counts before what is said for all of them, but for quiet hours and the language, which are
said for all only.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from protocol.names import ChannelName, UserId
from storage.records import PreferenceRecord

EVERYWHERE = ChannelName("")
FOREVER = 2**53 - 1

ClockTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="hours and minutes, 00:00 to 23:59")]
Locale = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,35}$", description="a language tag (BCP 47) such as de-AT")]


class ChannelWishes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user wants of one channel. Nothing is shown before `muted_until` (Unix milliseconds)."""

    muted_until: Annotated[int, Meta(ge=0, le=FOREVER)] = 0
    mentions_only: bool | None = None


class Wishes(ChannelWishes, frozen=True, omit_defaults=True):
    """What a user wants of all channels. From `quiet_from` to `quiet_to` in `time_zone`, pushes wait for the end."""

    quiet_from: ClockTime | None = None
    quiet_to: ClockTime | None = None
    time_zone: Annotated[str, Meta(max_length=64, description="a name such as Europe/Vienna")] = "UTC"
    locale: Locale = ""


NO_WISHES = Wishes()


class BadWishes(ValueError):
    """The wishes do not make sense together."""


def check(wishes: ChannelWishes) -> None:
    """Return if wishes can be kept.

    Raises:
        BadWishes: The time zone is not known, or one end of the quiet hours is missing.
    """
    if not isinstance(wishes, Wishes):
        return
    if (wishes.quiet_from is None) != (wishes.quiet_to is None):
        raise BadWishes("give `quiet_from` and `quiet_to`, or none of both")
    if _zone(wishes.time_zone) is None:
        raise BadWishes("no such time zone")


def to_values(wishes: ChannelWishes) -> dict[str, str]:
    """Return wishes as the store keeps them; nothing for what is not wished."""
    return {name: msgspec.json.encode(value).decode() for name, value in msgspec.to_builtins(wishes).items()}


def from_values(values: dict[str, str]) -> Wishes:
    """Return wishes as they were kept. What another version wrote and this one cannot read counts as not wished."""
    found = {}
    for name, text in values.items():
        try:
            found[name] = msgspec.json.decode(text)
        except msgspec.MsgspecError:
            continue
    try:
        return msgspec.convert(found, Wishes)
    except msgspec.ValidationError:
        return NO_WISHES


def wishes_of(user: UserId, channel: ChannelName, records: Iterable[PreferenceRecord]) -> Wishes:
    """Return what counts for this user and channel, from the records of both."""
    everywhere, here = NO_WISHES, NO_WISHES
    for record in records:
        if record.user == user and record.channel == EVERYWHERE:
            everywhere = from_values(record.values)
        elif record.user == user and record.channel == channel:
            here = from_values(record.values)
    return msgspec.structs.replace(
        everywhere,
        muted_until=max(everywhere.muted_until, here.muted_until),
        mentions_only=everywhere.mentions_only if here.mentions_only is None else here.mentions_only,
    )


def quiet_until(wishes: Wishes, now: int) -> int | None:
    """Return when the quiet hours end that there are now (both in Unix milliseconds); None if there are none now.

    Hours are those of the wall clock: where it jumps, the quiet hours are longer or shorter that night. An end in the
    hour that is left out is an hour later on the wall; of an hour that comes twice the first one counts.
    """
    if wishes.quiet_from is None or wishes.quiet_to is None or wishes.quiet_from == wishes.quiet_to:
        return None
    zone = _zone(wishes.time_zone)
    if zone is None:
        return None
    local = datetime.fromtimestamp(now / 1000, zone)
    begin, end = time.fromisoformat(wishes.quiet_from), time.fromisoformat(wishes.quiet_to)
    today = local.date()
    # The hours that began yesterday or today; those that begin at 22:00 end on the next day.
    for day in (today - timedelta(days=1), today):
        last = day if begin < end else day + timedelta(days=1)
        start, stop = (_moment(on, clock, zone) for on, clock in ((day, begin), (last, end)))
        if start <= now < stop:
            return stop
    return None


def _moment(day: date, clock: time, zone: ZoneInfo) -> int:
    moment = datetime.combine(day, clock, zone)
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
