"""When a backend is asked, and when it is left alone."""

import pytest

from chatd.hooks.breaker import TRANSITIONS, Breaker, State


def broken(failures: int = 3) -> Breaker:
    breaker = Breaker(failures, rest_seconds=5.0)
    for _ in range(failures):
        assert breaker.may_ask(0.0)
        breaker.failed(0.0)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(3, 5.0)
    for _ in range(10):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.worked()
    assert breaker.state is State.CLOSED
    assert broken().state is State.OPEN


def test_while_it_is_open_nobody_asks() -> None:
    breaker = broken()
    assert not breaker.may_ask(4.9)


def test_after_its_rest_one_question_tries() -> None:
    breaker = broken()
    assert breaker.may_ask(5.0)
    assert not breaker.may_ask(5.0)
    breaker.worked()
    assert breaker.may_ask(5.1)


def test_a_try_that_fails_makes_it_rest_again() -> None:
    breaker = broken()
    assert breaker.may_ask(5.0)
    breaker.failed(6.0)
    assert not breaker.may_ask(10.9)
    assert breaker.may_ask(11.0)


def test_a_try_that_nobody_waits_for_lets_the_next_one_try() -> None:
    breaker = broken()
    assert breaker.may_ask(5.0)
    breaker.withdrawn(5.5)
    assert breaker.may_ask(5.5)
    assert not breaker.may_ask(5.6)


def test_a_late_answer_closes_it() -> None:
    breaker = broken()
    breaker.worked()
    assert breaker.state is State.CLOSED


def test_withdrawing_an_ordinary_question_changes_nothing() -> None:
    breaker = Breaker(1, 5.0)
    breaker.withdrawn(0.0)
    assert breaker.may_ask(0.0)


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_transitions(state: State) -> None:
    assert TRANSITIONS[state]
