"""Rates and quotas that a caller is told of: policies, where one stands, and the headers that say it.

The headers are those of the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers):
`RateLimit-Policy` lists the policies, `RateLimit` what is left of each. A token bucket is told as a quota of its burst
in the time in which it fills.

`Rates` is what asks; `MemoryRates` keeps its counts on this node. One that keeps them where all nodes see them has the
same methods.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from chatd.limits import DAY_SECONDS, Policy, Standing, TokenBucket, standing


class Rates(Protocol):
    """Counts what callers use under policies. Each (policy's name, subject) has a count of its own."""

    async def take(self, policy: Policy, subject: str, count: int = 1) -> Standing:
        """Take so much, or nothing if not all of it is left; return where the subject stands now."""


class MemoryRates:
    """Counts on this node, for a bounded number of subjects; those unused for the longest make room."""

    def __init__(self, size: int, monotonic: Callable[[], float], clock: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self._clock = clock  # Unix seconds, for the days of quotas
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        self._days: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    async def take(self, policy: Policy, subject: str, count: int = 1) -> Standing:
        """Take so much, or nothing if not all of it is left. Never waits."""
        return self.take_nowait(policy, subject, count)

    def take_nowait(self, policy: Policy, subject: str, count: int = 1) -> Standing:
        """Do what `take` does."""
        return self._take_of_day(policy, subject, count) if not policy.rate else self._take(policy, subject, count)

    def bucket(self, policy: Policy, subject: str) -> TokenBucket:
        """Return the bucket of a subject, for who takes from it many times a second."""
        key = (policy.name, subject)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._size:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(policy.rate, policy.burst)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def _take(self, policy: Policy, subject: str, count: int) -> Standing:
        bucket = self.bucket(policy, subject)
        now = self._monotonic()
        wait = bucket.take(now, count)
        return standing(policy, bucket.full_in(now), wait)

    def _take_of_day(self, policy: Policy, subject: str, count: int) -> Standing:
        now = self._clock()
        today, left_seconds = int(now // DAY_SECONDS), DAY_SECONDS - now % DAY_SECONDS
        key = (policy.name, subject)
        day, used = self._days.pop(key, (today, 0))
        used = used if day == today else 0
        is_refused = used + count > policy.burst
        self._days[key] = (today, used if is_refused else used + count)
        if len(self._days) > self._size:
            self._days.popitem(last=False)
        left = max(0, policy.burst - self._days[key][1])
        return Standing(policy, left_seconds if is_refused else 0.0, left, left_seconds)


def rate_headers(standings: Iterable[Standing]) -> list[tuple[str, str]]:
    """Return the header fields that tell a caller its policies and what is left."""
    known = list(standings)
    if not known:
        return []
    policies = ", ".join(f'"{one.policy.name}";q={one.policy.burst};w={one.policy.window_seconds}' for one in known)
    left = ", ".join(f'"{one.policy.name}";r={one.left};t={math.ceil(one.reset_seconds)}' for one in known)
    return [("RateLimit-Policy", policies), ("RateLimit", left)]
