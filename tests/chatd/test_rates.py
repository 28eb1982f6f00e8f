"""Policies, where callers stand, and the headers that say it."""

from chatd.limits import Policy
from chatd.rates import MemoryRates, rate_headers
from tests.fakes.hand_clock import HandClock


def rates(clock: HandClock, size: int = 10) -> MemoryRates:
    return MemoryRates(size, clock, clock)


async def test_a_rate_lets_its_burst_through_and_then_says_how_long_to_wait() -> None:
    clock = HandClock()
    policy = Policy("key", 2.0, 4)
    counted = rates(clock)
    passed = [await counted.take(policy, "a") for _ in range(4)]
    assert [(one.wait, one.left) for one in passed] == [(0.0, 3), (0.0, 2), (0.0, 1), (0.0, 0)]
    refused = await counted.take(policy, "a")
    assert (round(refused.wait, 3), refused.left, refused.reset_seconds) == (0.5, 0, 2.0)
    assert (await counted.take(policy, "b")).left == 3
    clock.now += 2.0
    assert (await counted.take(policy, "a", 4)).wait == 0.0


async def test_a_quota_counts_a_day_of_utc() -> None:
    clock = HandClock()
    clock.now = 10 * 86_400 + 86_300.0
    policy = Policy("day", 0.0, 3)
    counted = rates(clock)
    assert (await counted.take(policy, "a", 2)).left == 1
    refused = await counted.take(policy, "a", 2)
    assert (refused.wait, refused.left) == (100.0, 1)
    clock.now += 100.0
    assert (await counted.take(policy, "a", 3)).left == 0


async def test_only_so_many_subjects_are_remembered() -> None:
    counted = rates(HandClock(), size=2)
    policy = Policy("key", 1.0, 1)
    day = Policy("day", 0.0, 1)
    for subject in "abc":
        await counted.take(policy, subject)
        await counted.take(day, subject)
    assert (await counted.take(policy, "a")).wait == 0.0
    assert (await counted.take(day, "a")).wait == 0.0
    assert (await counted.take(policy, "c")).wait > 0.0


async def test_the_headers_tell_every_policy_and_what_is_left() -> None:
    counted = rates(HandClock())
    standings = [
        await counted.take(Policy("address", 50.0, 200), "a"),
        await counted.take(Policy("user", 20.0, 100), "a"),
    ]
    assert dict(rate_headers(standings)) == {
        "RateLimit-Policy": '"address";q=200;w=4, "user";q=100;w=5',
        "RateLimit": '"address";r=199;t=1, "user";r=99;t=1',
    }
    assert rate_headers([]) == []
