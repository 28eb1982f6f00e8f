"""What becomes of a request after an attempt: delivered, tried again, given up, or the end of the endpoint.

Pure: time and chance are arguments.
"""

import email.utils
from collections.abc import Mapping
from enum import Enum, auto

import msgspec

from chatd.config import Webhooks

_GONE = 410

# The endpoint did not judge the request: too slow, too early, too many. All other 4xx say that it does not want it.
_PASSING = frozenset({408, 425, 429})


# A dead letter that is replayed is older than any patience, and still gets this many attempts.
_LEAST_ATTEMPTS = 8

# However long an endpoint asks to wait, it is tried after this: nobody should be able to stop a lane for days.
_LONGEST_SECONDS = 3600.0


class Fate(Enum):
    """What is to be done with the job."""

    DELIVERED = auto()
    AGAIN = auto()
    DEAD = auto()
    GONE = auto()


class Verdict(msgspec.Struct, frozen=True):
    """The fate, for AGAIN with the time (Unix milliseconds), and the reason of what is no success."""

    fate: Fate
    due: int = 0
    error: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """What is known of an attempt: the answer's status and headers, or why there was none."""

    status: int | None
    headers: Mapping[str, str]
    error: str


def judge(attempt: Attempt, config: Webhooks, *, attempts: int, created_at: int, now: int, chance: float) -> Verdict:
    """Say what becomes of a job that was put into the queue at `created_at` and has had `attempts` attempts.

    `chance` is from 0 to 1. Times are Unix milliseconds.
    """
    status = attempt.status
    if status is not None and 200 <= status < 300:
        return Verdict(Fate.DELIVERED)
    error = attempt.error if status is None else f"status {status}"
    if status == _GONE:
        return Verdict(Fate.GONE, error=error)
    is_refused = status is not None and 400 <= status < 500 and status not in _PASSING
    patience = config.refused_seconds if is_refused else config.retry_seconds
    end = created_at + 1000 * patience
    if now >= end and attempts >= _LEAST_ATTEMPTS:
        return Verdict(Fate.DEAD, error=f"{error}, given up after {attempts} attempts")
    pause = min(_pause(attempt, config, attempts, now, chance), _LONGEST_SECONDS)
    return Verdict(Fate.AGAIN, now + int(1000 * pause), error)


def _pause(attempt: Attempt, config: Webhooks, attempts: int, now: int, chance: float) -> float:
    """Return the seconds until the next attempt: doubling, with chance, and no less than the endpoint asks for."""
    # 2**30 seconds are 34 years: no exponent needs to be larger.
    longest = min(config.backoff_max_seconds, config.backoff_seconds * 2.0 ** min(attempts - 1, 30))
    return max(longest * (0.5 + chance / 2), _asked_for(attempt.headers.get("retry-after", ""), now))


def _asked_for(text: str, now: int) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3); 0.0 if it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now / 1000)
    except (ValueError, OverflowError):
        return 0.0
