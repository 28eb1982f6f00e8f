"""One place for a worker: the sockets that wait for it, its process, and how often it failed.

The sockets belong to the supervisor. While a worker is started again or replaced, the kernel keeps new connections for
the next one: nobody is refused. Only when the pause before the next start is long they are closed, and connections go
to the other workers.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import structlog
import trio

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""Who ran for this long before it ended is started again at once, as after the first failure."""

# A port whose worker pauses for longer must not gather connections that nobody takes.
_LONG_PAUSE_SECONDS = 2.0

_READY = b"chatd serves "

_log = structlog.get_logger("workers")


def pause_seconds(failures: int) -> float:
    """Return how long to wait before the next start, after so many failures in a row."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))


class Worker:
    """One process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.started = trio.current_time()
        self.is_ready = trio.Event()
        self.ended = trio.Event()

    @property
    def pid(self) -> int:
        """The process' id."""
        return self.process.pid

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if not self.ended.is_set():
            self.process.send_signal(number)

    async def wait(self) -> None:
        """Return when it has ended."""
        await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))


class Slot:
    """Starts workers in one place. `open_port` gives its sockets."""

    def __init__(
        self, number: int, variables: dict[str, str], config: Path | None, open_port: Callable[[], list[socket.socket]]
    ) -> None:
        self.number = number
        self.failures = 0  # in a row
        self.restarts = 0
        self.worker: Worker | None = None
        self._variables = variables  # of the configuration, in which workers differ
        self._config = config
        self._open_port = open_port
        self._sockets: list[socket.socket] = []

    def open(self) -> list[tuple[str, int]]:
        """Open the port, if it is not; return where.

        Raises:
            OSError: It cannot be opened.
        """
        if not self._sockets:
            self._sockets = self._open_port()
        return [sock.getsockname()[:2] for sock in self._sockets]

    def close(self) -> None:
        """Close the port: connections go to the other slots."""
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    def start(self, nursery: trio.Nursery, on_ended: Callable[["Slot", Worker], None]) -> Worker:
        """Start a worker; `on_ended` is called when it has ended, whyever.

        Raises:
            OSError: It cannot be started.
        """
        self.open()
        descriptors = [sock.fileno() for sock in self._sockets]
        # In this thread, which lasts: a worker ends with the thread that started it (tie.py), not with the process.
        process = subprocess.Popen(
            self._command(descriptors),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for the supervisor, which passes it on
            env={**os.environ, **self._variables},
        )
        worker = Worker(process)
        nursery.start_soon(self._watch, worker, on_ended)
        return worker

    def failed(self, lived_seconds: float) -> float:
        """Count a failure; return how long to wait, and close the port if that is long."""
        self.failures = 1 if lived_seconds >= STEADY_SECONDS else self.failures + 1
        self.restarts += 1
        pause = pause_seconds(self.failures)
        if pause > _LONG_PAUSE_SECONDS:
            self.close()
        return pause

    def _command(self, descriptors: Sequence[int]) -> list[str]:
        command = [sys.executable, "-m", "chatd", "serve", "--supervisor", str(os.getpid())]
        for descriptor in descriptors:
            command += ["--listen-on", str(descriptor)]
        return [*command, "--config", str(self._config)] if self._config is not None else command

    async def _watch(self, worker: Worker, on_ended: Callable[["Slot", Worker], None]) -> None:
        """Read what the worker prints, to know when it serves, until it ends."""
        assert worker.process.stdout is not None
        with worker.process.stdout as output:
            stream = trio.lowlevel.FdStream(os.dup(output.fileno()))
        heard = b""
        async with stream:
            async for data in stream:
                if not worker.is_ready.is_set():
                    heard = (heard + data)[-4096:]
                    if _READY in heard:
                        worker.is_ready.set()
        await worker.wait()
        worker.ended.set()
        on_ended(self, worker)


async def ready_or_ended(worker: Worker, seconds: float = inf) -> bool:
    """Wait until a worker serves; False if it ended before that, or takes too long."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:

            async def wait_for(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for, worker.is_ready)
            nursery.start_soon(wait_for, worker.ended)
    return worker.is_ready.is_set() and not worker.ended.is_set()
