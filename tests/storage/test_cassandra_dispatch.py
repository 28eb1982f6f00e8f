"""Tests of the ways of a batch: over a line, over another one, or by the driver."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from storage import StoreError, StoreUnavailable
from storage.cassandra_dispatch import Batch, Dispatch, Prepared
from storage.cassandra_line import Answered
from storage.cassandra_lines import Lines
from storage.cassandra_session import Done, Session
from storage.cassandra_settings import CassandraSettings

SETTINGS = CassandraSettings(request_seconds=5.0, speculative_seconds=0.5)


class HandLine:
    """A connection whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[Answered] = []

    def send(self, _: bytes, answered: Answered) -> None:
        """Keep who asks."""
        self.asked.append(answered)


class HandLines:
    """Connections to choose from: the first one, then the others."""

    def __init__(self, *lines: HandLine) -> None:
        self.lines = list(lines)

    async def run(self) -> None:
        """Keep them as they are."""
        await trio.sleep_forever()

    def best(self, _: bytes) -> HandLine | None:
        """Return the first."""
        return self.lines[0] if self.lines else None

    def other(self, _: bytes, than: HandLine) -> HandLine | None:
        """Return the first other one."""
        return next((line for line in self.lines if line is not than), None)


class HandDriver:
    """What the session does for a batch; the driver's answers are the test's."""

    settings = SETTINGS

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Done, float | None]] = []

    def timestamp(self) -> int:
        """Return a time."""
        return 1

    def send(self, statement: Any, done: Done, *, seconds: float | None = None) -> None:
        """Keep who asks."""
        self.asked.append((statement, done, seconds))

    def tell(self, done: Done, rows: Sequence[Any], error: Exception | None) -> None:
        """Tell who asked."""
        done(rows, cast(StoreError | None, error))


class Bench:
    """A dispatch on two lines and a driver, and what was told."""

    def __init__(self, lines: int = 2) -> None:
        self.lines = [HandLine() for _ in range(lines)]
        self.driver = HandDriver()
        self.dispatch = Dispatch(cast(Session, self.driver), cast(Lines, HandLines(*self.lines)))
        self.told: list[StoreError | None] = []

    def send(self) -> None:
        """Send a batch."""
        batch = Batch(b"routing")
        batch.add(Prepared(b"0123456789abcdef", 2), [b"a", b"b"])
        self.dispatch.send(batch, lambda _, error: self.told.append(error))


@pytest.fixture
async def bench(nursery: trio.Nursery) -> Bench:
    made = Bench()
    nursery.start_soon(made.dispatch.run)
    return made


async def test_an_answer_is_told(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    bench.send()
    bench.lines[0].asked[0]("")
    assert bench.told == [None]
    await trio.sleep(60)
    assert bench.told == [None]
    assert not bench.lines[1].asked
    assert not bench.driver.asked


async def test_what_a_node_refuses_is_asked_again_by_the_driver_in_the_time_that_is_left(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.send()
    await trio.sleep(0.25)
    bench.lines[0].asked[0]("unprepared (0x2500)")
    ((statement, done, seconds),) = bench.driver.asked
    assert seconds == pytest.approx(4.75)
    assert statement.is_idempotent
    assert statement.routing_key == b"routing"
    refused = StoreError("the cluster refuses")
    done((), refused)
    assert bench.told == [refused]


async def test_another_node_is_asked_as_well_when_an_answer_is_overdue(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.send()
    await trio.sleep(1)
    assert [len(line.asked) for line in bench.lines] == [1, 1]
    bench.lines[1].asked[0]("")
    bench.lines[0].asked[0]("")
    assert bench.told == [None]


async def test_a_late_error_of_the_first_node_changes_nothing(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.send()
    await trio.sleep(1)
    bench.lines[1].asked[0]("")
    bench.lines[0].asked[0]("the connection broke")
    assert bench.told == [None]
    assert not bench.driver.asked


async def test_both_nodes_failing_asks_the_driver_once(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    bench.send()
    await trio.sleep(1)
    for line in bench.lines:
        line.asked[0]("the connection broke")
    assert len(bench.driver.asked) == 1


async def test_no_answer_at_all_is_unavailable_once(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    bench.send()
    await trio.sleep(60)
    (error,) = bench.told
    assert isinstance(error, StoreUnavailable)
    bench.lines[0].asked[0]("")
    bench.lines[1].asked[0]("the connection broke")
    assert len(bench.told) == 1
    assert not bench.driver.asked


async def test_the_driver_has_a_deadline_of_its_own(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    bench.send()
    bench.lines[0].asked[0]("overloaded")
    await trio.sleep(60)
    assert bench.told == []
    bench.driver.asked[0][1]((), None)
    assert bench.told == [None]


async def test_without_a_line_the_driver_is_asked() -> None:
    bench = Bench(lines=0)
    bench.send()
    ((_, done, seconds),) = bench.driver.asked
    assert seconds is None
    done((), None)
    assert bench.told == [None]
