"""Work that goes on when who asked for it has given up: a write is finished, a shared read is answered."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
import trio

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class Background:
    """Runs jobs as trio's system tasks: they are in nobody's nursery, and an error of theirs ends only themselves."""

    def __init__(self) -> None:
        self._running = 0
        self._idle = trio.Event()
        self._is_closing = False
        self._endless = trio.CancelScope()

    def start(self, job: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Begin a job that ends by itself. Its errors are logged."""
        self._running += 1
        trio.lowlevel.spawn_system_task(self._run, job, args)

    def start_endless(self, job: Callable[[], Awaitable[None]]) -> None:
        """Begin a job that runs until `aclose`; one at most."""
        trio.lowlevel.spawn_system_task(self._run_endless, job)

    async def complete(self, job: Callable[[], Awaitable[_T]]) -> _T:
        """Return what a job returns, or raise what it raises. Being cancelled ends the waiting, not the job."""
        ended = trio.Event()
        results: list[_T] = []
        errors: list[Exception] = []

        async def run() -> None:
            try:
                results.append(await job())
            except Exception as error:
                errors.append(error)
            finally:
                ended.set()

        self.start(run)
        await ended.wait()
        if errors:
            raise errors[0]
        return results[0]

    async def aclose(self) -> None:
        """Return when every job has ended. Do not cancel it."""
        self._endless.cancel()
        self._is_closing = True
        if self._running:
            await self._idle.wait()

    async def _run(self, job: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            await job(*args)
        except Exception:
            _log.exception("a job of the store failed")
        finally:
            self._running -= 1
            if self._is_closing and not self._running:
                self._idle.set()

    async def _run_endless(self, job: Callable[[], Awaitable[None]]) -> None:
        with self._endless:
            try:
                await job()
            except Exception:
                _log.exception("a job of the store failed")
