"""What whoever counts rates must do: the promises of `chatd.rates.Rates`, one test each.

An adapter joins in tests/chatd/test_rates_contract.py with one param of the fixture `rates`. Time is real, for a
server's cannot be moved; the rates are so slow that nothing comes back during a test, or are waited for.
"""

import trio

from chatd.limits import DAY_SECONDS, Policy
from chatd.rates import Rates

SLOW = Policy("slow", 0.001, 3)
DAY = Policy("day", 0.0, 5)


class RatesContract:
    """What holds for every one."""

    async def test_a_burst_passes_and_then_it_is_said_how_long_to_wait(self, rates: Rates) -> None:
        passed = [await rates.take(SLOW, "a") for _ in range(3)]
        assert [(one.wait, one.left) for one in passed] == [(0.0, 2), (0.0, 1), (0.0, 0)]
        refused = await rates.take(SLOW, "a")
        assert (refused.policy, refused.left) == (SLOW, 0)
        assert 990.0 < refused.wait <= 1000.1
        assert 2990.0 < refused.reset_seconds <= 3000.1

    async def test_each_subject_and_each_policy_has_a_count_of_its_own(self, rates: Rates) -> None:
        await rates.take(SLOW, "a", 3)
        assert (await rates.take(SLOW, "b")).left == 2
        assert (await rates.take(Policy("other", 0.001, 3), "a")).left == 2
        assert (await rates.take(DAY, "a")).left == 4

    async def test_what_is_refused_takes_nothing(self, rates: Rates) -> None:
        await rates.take(SLOW, "a", 2)
        assert (await rates.take(SLOW, "a", 2)).wait > 0.0
        assert (await rates.take(SLOW, "a", 1)).wait == 0.0

    async def test_more_than_a_burst_passes_when_all_is_there_and_then_costs_its_time(self, rates: Rates) -> None:
        taken = await rates.take(SLOW, "a", 10)
        assert (taken.wait, taken.left) == (0.0, 0)
        assert 9990.0 < taken.reset_seconds <= 10_000.1
        assert (await rates.take(SLOW, "a")).wait > 7990.0

    async def test_who_waits_as_long_as_told_is_let_through(self, rates: Rates) -> None:
        policy = Policy("quick", 3.0, 1)  # a third of a second is no whole number of microseconds
        await rates.take(policy, "a")
        refused = await rates.take(policy, "a")
        assert refused.wait > 0.0
        await trio.sleep(refused.wait)
        assert (await rates.take(policy, "a")).wait == 0.0

    async def test_a_quota_counts_a_day(self, rates: Rates) -> None:
        taken = await rates.take(DAY, "a", 4)
        assert (taken.wait, taken.left) == (0.0, 1)
        refused = await rates.take(DAY, "a", 2)
        assert refused.left == 1
        assert 0.0 < refused.wait <= DAY_SECONDS
        assert 0.0 < refused.reset_seconds <= DAY_SECONDS
        assert (await rates.take(DAY, "a", 1)).left == 0

    async def test_of_several_policies_all_are_taken_from_or_none(self, rates: Rates) -> None:
        wide = Policy("wide", 0.001, 100)
        first = await rates.take_all([wide, DAY], "a", 4)
        assert [(one.policy, one.wait, one.left) for one in first] == [(wide, 0.0, 96), (DAY, 0.0, 1)]
        refused = await rates.take_all([wide, DAY], "a", 4)
        assert [(bool(one.wait), one.left) for one in refused] == [(False, 96), (True, 1)]
        assert [one.left for one in await rates.take_all([wide, DAY], "a", 1)] == [95, 0]

    async def test_asking_for_nothing_says_where_one_stands(self, rates: Rates) -> None:
        assert (await rates.take(SLOW, "a", 0)).left == 3
        await rates.take(SLOW, "a", 1)
        assert [(await rates.take(SLOW, "a", 0)).left for _ in range(2)] == [2, 2]
