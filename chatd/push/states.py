"""What becomes of a push now, as pure decisions. docs/explanation/push.md draws the states.

stored ──after T──► (decide) ─┬─► live, read, muted, unmentioned, expired     ends: nobody is told
                              ├─► held until the quiet hours end, then (decide) again
                              └─► handed over ─(settle)─┬─► pushed, gone, rejected   ends
                                                        └─► again after a pause, then (decide) again
"""

from dataclasses import dataclass
from enum import StrEnum

from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.content import Content
from chatd.push.preferences import Wishes, quiet_until


class End(StrEnum):
    """How a push ended."""

    LIVE = "live"  # somebody looks at a session of the user, or this device has one: the message comes through it
    READ = "read"  # the user read the message, on whichever device
    MUTED = "muted"
    UNMENTIONED = "unmentioned"  # the user wants to hear of mentions only
    QUIET = "quiet"  # the quiet hours last longer than it is worth
    EXPIRED = "expired"
    PUSHED = "pushed"
    DRY = "dry"  # it would have been handed over
    REPEATED = "repeated"  # it had been handed over before, and the job came again
    GONE = "gone"  # the service does not know the token any more
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one user at the moment of deciding."""

    is_looking: bool
    is_connected: bool  # this device has a session
    read: int  # the seq up to which the user has read the channel
    wishes: Wishes
    is_mentioned: bool


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give it to the service now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Decide again at this time (Unix milliseconds): the quiet hours are over then."""

    until: int


@dataclass(frozen=True, slots=True)
class Again:
    """Try again at this time (Unix milliseconds)."""

    due: int
    reason: str


def decide(content: Content, facts: Facts, now: int) -> HandOver | Hold | End:
    """Say what is to be done with a push at `now` (Unix milliseconds)."""
    user_is_told = facts.is_looking or facts.is_connected
    if now >= content.expires_at:
        return End.EXPIRED
    if facts.read >= content.seq:
        return End.READ
    if user_is_told and content.kind != "liveactivity":  # that changes what the lock screen shows, sessions do not
        return End.LIVE
    return _wanted(content, facts.wishes, facts.is_mentioned, now)


def _wanted(content: Content, wishes: Wishes, is_mentioned: bool, now: int) -> HandOver | Hold | End:
    """Say what the user's wishes make of it. What nobody sees or hears disturbs nobody."""
    if content.kind in ("background", "liveactivity"):
        return HandOver()
    if now < wishes.muted_until:
        return End.MUTED
    if wishes.mentions_only and not is_mentioned and content.kind != "voip":
        return End.UNMENTIONED
    quiet = quiet_until(wishes, now)
    if quiet is None:
        return HandOver()
    return Hold(quiet) if quiet < content.expires_at else End.QUIET


def settle(outcome: Outcome, content: Content, now: int, pause: float) -> End | Again:
    """Say what comes after an outcome; `pause` (seconds) is the backoff if it is tried again."""
    match outcome:
        case Delivered():
            return End.PUSHED
        case Gone():
            return End.GONE
        case Rejected():
            return End.REJECTED
        case Throttled(reason=reason, retry_after=retry_after) | Unavailable(reason=reason, retry_after=retry_after):
            due = now + int(max(pause, retry_after or 0.0) * 1000)
            return Again(due, reason) if due < content.expires_at else End.EXPIRED


def backoff(attempts: int, first_seconds: float, most_seconds: float, chance: float) -> float:
    """Return how long to wait after so many attempts: doubled each time, half of it by chance (from 0 to 1).

    So pushes that failed together do not all come back together.
    """
    whole: float = min(most_seconds, first_seconds * 2.0 ** min(attempts - 1, 30))
    return whole * (0.5 + 0.5 * chance)
