"""Rates and quotas that a caller is told of: policies, where one stands, and the headers that say it.

The headers are those of the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers):
`RateLimit-Policy` lists the policies, `RateLimit` what is left of each. A token bucket is told as a quota of its burst
in the time in which it fills.

`Rates` is what asks; `MemoryRates` keeps its counts on this node, chatd/redis/rates.py where all nodes see them. Each
passes tests/contracts/rates.py.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from chatd.limits import DAY_SECONDS, Policy, Standing, TokenBucket, standing


class Rates(Protocol):
    """Counts what callers use under policies. Each (policy's name, subject) has a count of its own."""

    async def take(self, policy: Policy, subject: str, count: int = 1) -> Standing:
        """Take so much, or nothing if not all of it is left; return where the subject stands now."""

    async def take_all(self, policies: Sequence[Policy], subject: str, count: int = 1) -> list[Standing]:
        """Take so much under each of up to two policies, or nothing if one refuses; return where each stands now."""


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
        return self._take(policy, subject, count)

    async def take_all(self, policies: Sequence[Policy], subject: str, count: int = 1) -> list[Standing]:
        """Take so much under each policy, or nothing if one of them refuses. Never waits."""
        return self.take_all_nowait(policies, subject, count)

    def take_all_nowait(self, policies: Sequence[Policy], subject: str, count: int = 1) -> list[Standing]:
        """Do what `take_all` does."""
        standings = [self._take(policy, subject, count) for policy in policies]
        if len(policies) == 1 or not any(one.wait for one in standings):
            return standings
        for one in standings:
            if not one.wait:
                self._give_back(one.policy, subject, count)
        now = [self._take(policy, subject, 0) for policy in policies]
        return [msgspec.structs.replace(after, wait=before.wait) for before, after in zip(standings, now, strict=True)]

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
        if not policy.rate:
            return self._take_of_day(policy, subject, count)
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

    def _give_back(self, policy: Policy, subject: str, count: int) -> None:
        if policy.rate:
            self.bucket(policy, subject).give_back(count)
        else:
            day, used = self._days[(policy.name, subject)]
            self._days[(policy.name, subject)] = (day, used - count)


def rate_headers(standings: Iterable[Standing]) -> list[tuple[str, str]]:
    """Return the header fields that tell a caller its policies and what is left."""
    known = list(standings)
    if not known:
        return []
    policies = ", ".join(f'"{one.policy.name}";q={one.policy.burst};w={one.policy.window_seconds}' for one in known)
    left = ", ".join(f'"{one.policy.name}";r={one.left};t={math.ceil(one.reset_seconds)}' for one in known)
    return [("RateLimit-Policy", policies), ("RateLimit", left)]
