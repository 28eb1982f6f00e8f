"""Rates and counts: what passes, what waits, and what a bounded table forgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.config import Limits
from chatd.limits import AddressLimiter, BucketTable, Refusal, RefusalReason, TokenBucket, address_key


def test_a_new_bucket_lets_a_whole_burst_through_and_no_more() -> None:
    bucket = TokenBucket(rate=2.0, burst=5)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(100.0) == pytest.approx(0.5, abs=1e-4)


def test_a_refusal_takes_nothing() -> None:
    bucket = TokenBucket(rate=1.0, burst=1)
    bucket.take(0.0)
    waits = [bucket.take(0.25) for _ in range(10)]
    assert waits == pytest.approx([0.75] * 10, abs=1e-4)


def test_a_bucket_refills_at_its_rate_up_to_its_burst() -> None:
    bucket = TokenBucket(rate=10.0, burst=3)
    bucket.take(0.0, 3)
    assert bucket.take(0.1) == 0.0
    assert bucket.take(0.1) > 0.0
    assert [bucket.take(1000.0) for _ in range(3)] == [0.0] * 3
    assert bucket.take(1000.0) > 0.0


def test_more_than_a_burst_passes_a_full_bucket_and_costs_its_time() -> None:
    bucket = TokenBucket(rate=1.0, burst=2)
    assert bucket.take(0.0, 10) == 0.0
    assert bucket.take(0.0) == pytest.approx(9.0, abs=1e-4)
    assert bucket.take(9.0, 10) == pytest.approx(1.0, abs=1e-4)
    assert bucket.take(10.0, 10) == 0.0


@given(
    rate=st.floats(0.01, 1e4),
    burst=st.integers(1, 1000),
    start=st.floats(0, 1e7),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1000)), max_size=30),
)
def test_waiting_as_long_as_told_is_always_enough(
    rate: float, burst: int, start: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now = TokenBucket(rate, burst), start
    for pause, count in steps:
        now += pause
        wait = bucket.take(now, count)
        if wait:
            now += wait
            assert bucket.take(now, count) == 0.0


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), min_size=1, max_size=50),
)
def test_never_more_than_rate_and_burst_allow(rate: float, burst: int, steps: list[tuple[float, int]]) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
    for pause, count in steps:
        now += pause
        if count <= burst and bucket.take(now, count) == 0.0:
            taken += count
    assert taken <= burst + now * rate + 0.01


def test_a_table_forgets_the_key_that_was_used_the_longest_ago() -> None:
    table = BucketTable(rate=1.0, burst=1, size=2)
    assert table.take("old", 0.0) == 0.0
    assert table.take("new", 0.0) == 0.0
    assert table.take("old", 0.0) > 0.0
    assert table.take("third", 0.0) == 0.0
    assert len(table) == 2
    assert table.take("old", 0.0) > 0.0
    assert table.take("new", 0.0) == 0.0


def test_an_address_connects_up_to_its_count_and_again_when_one_ends() -> None:
    limiter = AddressLimiter(Limits(connections_per_address=2))
    assert limiter.connect("192.0.2.1", 0.0) is None
    assert limiter.connect("192.0.2.1", 0.0) is None
    refusal = limiter.connect("192.0.2.1", 0.0)
    assert refusal is not None
    assert refusal.reason is RefusalReason.CONNECTIONS
    assert refusal.retry_after > 0
    assert limiter.connect("192.0.2.2", 0.0) is None
    limiter.disconnect("192.0.2.1")
    assert limiter.connect("192.0.2.1", 0.0) is None


def test_an_address_that_connects_too_often_is_told_when_to_come_back() -> None:
    limiter = AddressLimiter(Limits(connects_per_second=1.0, connects_burst=1))
    assert limiter.connect("192.0.2.1", 0.0) is None
    limiter.disconnect("192.0.2.1")
    match limiter.connect("192.0.2.1", 0.0):
        case Refusal(reason=RefusalReason.CONNECT_RATE, retry_after=wait):
            assert limiter.connect("192.0.2.1", wait) is None
        case other:
            pytest.fail(f"not refused for its rate: {other}")


def test_open_connections_stay_counted_when_the_table_of_rates_overflows() -> None:
    limiter = AddressLimiter(Limits(connections_per_address=1, addresses=1))
    assert limiter.connect("192.0.2.1", 0.0) is None
    for number in range(10):
        assert limiter.connect(f"198.51.100.{number}", 0.0) is None
    refusal = limiter.connect("192.0.2.1", 100.0)
    assert refusal is not None
    assert refusal.reason is RefusalReason.CONNECTIONS


def test_other_limits_count_at_once_and_lose_no_open_connection() -> None:
    limiter = AddressLimiter(Limits())
    assert limiter.connect("192.0.2.1", 0.0) is None
    limiter.reload(Limits(connections_per_address=1))
    assert limiter.connect("192.0.2.1", 0.0) is not None
    limiter.disconnect("192.0.2.1")
    assert limiter.connect("192.0.2.1", 0.0) is None


def test_a_disconnect_without_a_connect_is_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError):
        AddressLimiter(Limits()).disconnect("192.0.2.1")


def test_requests_have_a_rate_of_their_own() -> None:
    limiter = AddressLimiter(Limits(http_requests_per_second=1.0, http_requests_burst=2))
    assert [limiter.request("192.0.2.1", 0.0)[0] for _ in range(2)] == [None, None]
    refusal, standing = limiter.request("192.0.2.1", 0.0)
    assert refusal is not None
    assert (standing.left, standing.reset_seconds, standing.policy.window_seconds) == (0, 2.0, 2)
    assert refusal.reason is RefusalReason.REQUEST_RATE
    assert limiter.connect("192.0.2.1", 0.0) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:0DB8:0:0:1::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("no:address", "no:address too", False),
    ],
)
def test_ipv6_addresses_count_by_their_64(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


def test_what_is_given_back_may_be_taken_again() -> None:
    bucket = TokenBucket(1.0, 2.0)
    assert bucket.take(0.0, 2) == 0.0
    assert bucket.take(0.0) > 0.0
    bucket.give_back()
    assert bucket.take(0.0) == 0.0
    assert bucket.take(0.0) > 0.0


def test_what_comes_together_passes_up_to_a_burst_and_never_on_credit() -> None:
    bucket = TokenBucket(1.0, 3.0)
    assert not bucket.take_together(0.0, 4)
    assert bucket.take_together(0.0, 3)
    assert not bucket.take_together(0.0, 1)
    assert bucket.take_together(2.0, 2)
