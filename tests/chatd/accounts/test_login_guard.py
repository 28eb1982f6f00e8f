"""Guessing is slowed down, honest people are not, and the memory of it is bounded."""

from chatd.accounts.login_guard import LoginGuard
from chatd.config import Auth

AUTH = Auth(login_failures=3, login_delay_seconds=1.0, login_delay_max_seconds=8.0, login_tracked=2)


def test_delays_double_up_to_their_limit() -> None:
    guard, now, waits = LoginGuard(AUTH), 0.0, []
    for _ in range(8):
        wait = guard.begin("alice", "here", now)
        waits.append(wait)
        now += wait
        if wait:
            assert guard.begin("alice", "here", now) == 0.0
    assert waits == [0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_success_clears_the_name_and_not_the_address() -> None:
    guard = LoginGuard(AUTH)
    for _ in range(3):
        guard.begin("alice", "here", 0.0)
        guard.failed("here", 0.0)
    assert guard.begin("bob", "here", 0.0) == 1.0
    guard.succeeded("alice")
    assert guard.begin("alice", "elsewhere", 0.0) == 0.0
    assert guard.begin("alice", "here", 0.0) == 1.0


def test_an_address_pays_for_failures_only() -> None:
    guard = LoginGuard(AUTH)
    assert [guard.begin(f"user{n}", "office", 0.0) for n in range(50)] == [0.0] * 50


def test_an_attempt_that_came_to_nothing_is_not_counted() -> None:
    guard = LoginGuard(AUTH)
    for _ in range(10):
        assert guard.begin("alice", "here", 0.0) == 0.0
        guard.withdrawn("alice")
    guard.withdrawn("nobody")


def test_failures_are_forgotten_one_by_one_in_quiet_times() -> None:
    guard = LoginGuard(AUTH)
    for _ in range(3):
        guard.begin("alice", "here", 0.0)
    assert guard.begin("alice", "here", 8.0) == 0.0
    assert guard.begin("alice", "here", 8.0) == 1.0
    assert guard.begin("alice", "here", 8.0 + 3 * 8.0) == 0.0


def test_the_latest_failures_are_the_ones_remembered() -> None:
    guard = LoginGuard(AUTH)
    for _ in range(3):
        guard.begin("first", "here", 0.0)
    guard.begin("second", "here", 0.0)
    guard.begin("third", "here", 0.0)
    assert guard.begin("first", "here", 0.0) == 0.0
