"""What becomes of a request: a pure decision."""

import pytest

from chatd.config import Webhooks
from chatd.webhooks.verdict import Attempt, Fate, Verdict, judge

CONFIG = Webhooks(retry_seconds=86_400, refused_seconds=3600, backoff_seconds=1.0, backoff_max_seconds=900.0)
NOW = 1_800_000_000_000
DAY = 86_400_000


def verdict(
    status: int | None, *, attempts: int = 1, age: int = 0, chance: float = 1.0, headers: dict[str, str] | None = None
) -> Verdict:
    attempt = Attempt(status, headers or {}, "" if status else "no answer")
    return judge(attempt, CONFIG, attempts=attempts, created_at=NOW - age, now=NOW, chance=chance)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_delivery(status: int) -> None:
    assert verdict(status).fate is Fate.DELIVERED


@pytest.mark.parametrize("status", [None, 100, 301, 302, 307, 400, 401, 404, 408, 413, 422, 429, 500, 502, 503, 504])
def test_everything_else_is_tried_again(status: int | None) -> None:
    assert verdict(status).fate is Fate.AGAIN


def test_gone_is_the_end_of_the_endpoint() -> None:
    assert verdict(410).fate is Fate.GONE


def test_the_pause_doubles_up_to_a_bound_and_half_of_it_is_left_to_chance() -> None:
    pauses = [verdict(500, attempts=attempts).due - NOW for attempts in (1, 2, 3, 10, 11, 1000)]
    assert pauses == [1000, 2000, 4000, 512_000, 900_000, 900_000]
    assert verdict(500, attempts=3, chance=0.0).due - NOW == 2000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 1),
        ("Fri, 15 Jan 2027 08:02:00 GMT", 120),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("99999999999999", 3600),
        ("-5", 1),
        ("soon", 1),
        ("", 1),
        ("1e3", 1),
        ("²", 1),
        ("Fri, 15 Jan 99999 08:02:00 GMT", 1),
    ],
)
def test_the_endpoint_may_ask_for_a_longer_pause_up_to_an_hour(text: str, seconds: int) -> None:
    assert verdict(503, headers={"retry-after": text}).due - NOW == 1000 * seconds


def test_a_request_is_given_up_after_a_day() -> None:
    assert verdict(500, attempts=100, age=DAY - 1).fate is Fate.AGAIN
    assert verdict(500, attempts=100, age=DAY) == Verdict(Fate.DEAD, error="status 500, given up after 100 attempts")
    assert verdict(None, attempts=100, age=DAY).error == "no answer, given up after 100 attempts"


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_request_that_is_refused_is_given_up_sooner(status: int) -> None:
    assert verdict(status, attempts=100, age=3_599_999).fate is Fate.AGAIN
    assert verdict(status, attempts=100, age=3_600_000).fate is Fate.DEAD


@pytest.mark.parametrize("status", [408, 425, 429])
def test_an_endpoint_that_asks_to_wait_does_not_refuse(status: int) -> None:
    assert verdict(status, attempts=100, age=3_600_000).fate is Fate.AGAIN


def test_a_replayed_dead_letter_gets_some_attempts_however_old_it_is() -> None:
    fates = [verdict(500, attempts=attempts, age=30 * DAY).fate for attempts in range(1, 9)]
    assert fates == [Fate.AGAIN] * 7 + [Fate.DEAD]
