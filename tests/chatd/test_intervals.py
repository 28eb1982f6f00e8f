import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from chatd.intervals import work_every
from storage import StoreUnavailable


class Work:
    """Fails as it is told to, and remembers when it was done."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def __call__(self) -> None:
        self.times.append(trio.current_time())
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome


async def test_work_goes_on_while_the_store_fails_and_complains_once_each_time(
    autojump_clock: MockClock,
) -> None:
    gone = StoreUnavailable("gone")
    work = Work(None, gone, gone, None, gone, None)
    began = trio.current_time()
    with capture_logs() as logged, trio.move_on_after(13):
        await work_every(2.0, work, structlog.get_logger("test"), "nothing is saved")
    assert [time - began for time in work.times] == [2, 4, 6, 8, 10, 12]
    assert [(line["event"], line["log_level"], line["error"]) for line in logged] == [
        ("nothing is saved", "warning", "gone")
    ] * 2


async def test_another_fault_ends_the_work(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        await work_every(1.0, Work(ZeroDivisionError()), structlog.get_logger("test"), "nothing is saved")
