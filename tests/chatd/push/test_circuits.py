"""Leaving alone what fails."""

import pytest

from chatd.config import Push
from chatd.push.circuits import Circuits

CONFIG = Push(failures=3, rest_seconds=5.0, rest_max_seconds=15.0, request_seconds=8.0, connect_seconds=2.0, circuits=2)


@pytest.fixture
def circuits() -> Circuits:
    return Circuits(CONFIG)


def break_it(circuits: Circuits, now: float = 0.0) -> None:
    assert [circuits.failed("a", now, None) for _ in range(3)] == [False, False, True]


def test_a_few_failures_in_a_row_open_it_and_others_do_not_mind(circuits: Circuits) -> None:
    break_it(circuits)
    assert (circuits.wait("a", 1.0), circuits.wait("b", 1.0)) == (4.0, 0.0)
    assert (circuits.is_open("a"), circuits.open_count(1.0), circuits.open_count(6.0)) == (True, 1, 0)


def test_a_success_in_between_begins_the_count_anew(circuits: Circuits) -> None:
    circuits.failed("a", 0.0, None)
    circuits.failed("a", 0.0, None)
    circuits.succeeded("a")
    assert circuits.failed("a", 0.0, None) is False
    assert circuits.wait("a", 0.0) == 0.0


def test_after_the_rest_one_tries_and_the_others_wait_for_it(circuits: Circuits) -> None:
    break_it(circuits)
    assert circuits.wait("a", 5.0) == 0.0
    assert circuits.wait("a", 5.0) == 10.0
    circuits.succeeded("a")
    assert circuits.wait("a", 5.0) == 0.0


def test_a_try_that_fails_doubles_the_rest_up_to_its_bound(circuits: Circuits) -> None:
    break_it(circuits)
    now = 5.0
    for rest in (10.0, 15.0, 15.0):
        assert circuits.wait("a", now) == 0.0
        circuits.failed("a", now, None)
        assert circuits.rest("a", now) == rest
        now += rest


def test_failures_of_requests_that_had_begun_before_say_nothing_new(circuits: Circuits) -> None:
    break_it(circuits)
    for _ in range(500):
        circuits.failed("a", 1.0, None)
    assert circuits.rest("a", 1.0) == 4.0


def test_what_a_service_asks_for_is_kept_to(circuits: Circuits) -> None:
    circuits.pause("a", 0.0, 7.0)
    assert (circuits.wait("a", 1.0), circuits.is_open("a")) == (6.0, False)
    circuits.failed("b", 0.0, 30.0)
    assert circuits.wait("b", 0.0) == 30.0


def test_no_more_are_remembered_than_configured(circuits: Circuits) -> None:
    for name in "abc":
        circuits.pause(name, 0.0, 9.0)
    assert [circuits.rest(name, 0.0) for name in "abc"] == [0.0, 9.0, 9.0]
