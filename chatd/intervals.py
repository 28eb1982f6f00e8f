"""Work that is done in intervals over the store, and outlasts the times when the store fails."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from storage import StoreError


async def work_every(
    seconds: float, work: Callable[[], Awaitable[None]], log: structlog.typing.FilteringBoundLogger, complaint: str
) -> None:
    """Sleep and work in turn, until cancelled.

    When the store fails, the next interval tries again, and the complaint is logged once until the work is done.
    """
    is_failing = False
    while True:
        await trio.sleep(seconds)
        try:
            await work()
            is_failing = False
        except StoreError as error:
            if not is_failing:
                log.warning(complaint, error=str(error))
            is_failing = True
