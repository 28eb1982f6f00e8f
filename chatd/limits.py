"""Rates and counts of one client: the buckets that commands pass, and what one address may open.

Nothing here reads a clock: `now` is an argument, in seconds of one monotonic clock.
"""

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from chatd.config import Limits

DAY_SECONDS = 86_400

# A float of a clock that has run for years is exact to a fraction of this; without it, somebody who waited
# exactly as long as told could be refused again by a rounding.
_SLACK_SECONDS = 1e-6


class Policy(msgspec.Struct, frozen=True, gc=False):
    """How much is allowed: `rate` a second with up to `burst` at once, or `burst` in each day of UTC (rate 0)."""

    name: str
    rate: float
    burst: int

    @property
    def window_seconds(self) -> int:
        """The time in which the whole of `burst` comes back."""
        return DAY_SECONDS if not self.rate else max(1, math.ceil(self.burst / self.rate))


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Where a caller stands: `wait` seconds if it was refused (0.0: it passed), what is left, and when all is back."""

    policy: Policy
    wait: float
    left: int
    reset_seconds: float


def standing(policy: Policy, full_in: float, wait: float) -> Standing:
    """Say where a bucket stands that is full in so many seconds."""
    return Standing(policy, wait, max(0, int(policy.burst - full_in * policy.rate + 1e-6)), full_in)


class TokenBucket:
    """Lets through `rate` a second, and up to `burst` at once after a pause. A new bucket is full.

    It keeps one number, the time at which it will be full again: there is nothing to refill.
    """

    __slots__ = ("_depth", "_full_at", "_interval")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._depth = burst / rate + _SLACK_SECONDS
        self._full_at = float("-inf")

    def take(self, now: float, count: int = 1) -> float:
        """Take `count` and return 0.0; or take nothing and return the seconds to wait.

        Waiting that long is enough. More than a whole burst passes when the bucket is full, and then costs its time.
        """
        used = self._full_at - now
        if used <= 0.0:
            self._full_at = now + count * self._interval
            return 0.0
        used += count * self._interval
        if used <= self._depth:
            self._full_at = now + used
            return 0.0
        return min(used - self._depth, self._full_at - now) + _SLACK_SECONDS

    def take_together(self, now: float, count: int) -> bool:
        """Take `count` if they pass at once, which more than a burst never do; tell whether they were taken.

        `take` would let them pass on credit when the bucket is full.
        """
        full_at = (self._full_at if self._full_at > now else now) + count * self._interval
        if full_at - now > self._depth:
            return False
        self._full_at = full_at
        return True

    def full_in(self, now: float) -> float:
        """Return the seconds until the bucket is full."""
        return max(0.0, self._full_at - now)

    def give_back(self, count: int = 1) -> None:
        """Put back what was taken for something that was not done."""
        self._full_at -= count * self._interval


class BucketTable:
    """One bucket for each of many keys, a bounded number of them.

    When it is full, the bucket that was used the longest ago makes room: it is the likeliest to be full again, and a
    full bucket is the same as none.
    """

    __slots__ = ("_buckets", "_burst", "_rate", "_size")

    def __init__(self, rate: float, burst: float, size: int) -> None:
        self._rate = rate
        self._burst = burst
        self._size = size
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: float, count: int = 1) -> float:
        """Take from the key's bucket, as `TokenBucket.take` does."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._size:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now, count)

    def full_in(self, key: str, now: float) -> float:
        """Return the seconds until the key's bucket is full."""
        bucket = self._buckets.get(key)
        return 0.0 if bucket is None else bucket.full_in(now)

    def __len__(self) -> int:
        return len(self._buckets)


class RefusalReason(StrEnum):
    """Which limit an address reached."""

    CONNECTIONS = "connections_per_address"
    CONNECT_RATE = "connects_per_second"
    REQUEST_RATE = "http_requests_per_second"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that was reached, and how many seconds to wait before trying again makes sense."""

    reason: RefusalReason
    retry_after: float


# Nobody knows when one of an address's connections will end; this asks it not to hammer.
_CONNECTIONS_RETRY_SECONDS = 5.0


class AddressLimiter:
    """Bounds what one address has open, how often it connects and how often it asks over HTTP.

    Open connections are counted for as long as they are open, whatever the table of rates has room for.
    """

    def __init__(self, limits: Limits) -> None:
        self._open: dict[str, int] = {}
        self.reload(limits)

    def reload(self, limits: Limits) -> None:
        """Go on with other limits; every rate begins with a full bucket, what is open stays counted."""
        self._connections = limits.connections_per_address
        self._connects = BucketTable(limits.connects_per_second, limits.connects_burst, limits.addresses)
        self._requests = BucketTable(limits.http_requests_per_second, limits.http_requests_burst, limits.addresses)
        self._request_policy = Policy("address", limits.http_requests_per_second, limits.http_requests_burst)

    def connect(self, address: str, now: float) -> Refusal | None:
        """Count a new connection, or say why it must not be; each one counted needs one `disconnect`."""
        key = address_key(address)
        wait = self._connects.take(key, now)
        if wait:
            return Refusal(RefusalReason.CONNECT_RATE, wait)
        count = self._open.get(key, 0)
        if count >= self._connections:
            return Refusal(RefusalReason.CONNECTIONS, _CONNECTIONS_RETRY_SECONDS)
        self._open[key] = count + 1
        return None

    def disconnect(self, address: str) -> None:
        """Count a connection as ended that `connect` let in."""
        key = address_key(address)
        count = self._open[key] - 1
        if count:
            self._open[key] = count
        else:
            del self._open[key]

    def request(self, address: str, now: float) -> tuple[Refusal | None, Standing]:
        """Let one HTTP request pass (None) or say why it must not, and where the address stands."""
        key = address_key(address)
        wait = self._requests.take(key, now)
        refusal = Refusal(RefusalReason.REQUEST_RATE, wait) if wait else None
        full_in = self._requests.full_in(key, now)
        return refusal, standing(self._request_policy, full_in, wait)


def address_key(address: str) -> str:
    """Return what stands for one client's place: an IPv4 address, or the /64 that one IPv6 customer gets.

    An IPv4 address written as IPv6 (::ffff:…) is the same place. What is no address stands for itself.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
