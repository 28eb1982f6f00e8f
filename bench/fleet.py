"""The coordinator's side of the load generator processes: starts them, gives orders to all, adds up their answers."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import TypeVar

from bench import orders, procfs, worker
from bench.cores import Cores
from bench.crew import Stopped
from bench.histogram import Histogram
from bench.pace import Pace
from bench.seats import Checks, Seat
from bench.servers import Server
from bench.watch import Watch
from bench.watcher import Seen

_A = TypeVar("_A", bound=orders.Answer)
_GRACE_SECONDS = 30.0
_LEAD_SECONDS = 0.1


class WorkerFailed(Exception):
    """A load generator process ended or did not answer in time."""


class Fleet:
    """All load generator processes of one round. A context manager: none outlives it."""

    def __init__(self, server: Server, cores: Cores, body_bytes: int, watch: Watch) -> None:
        self._watch = watch
        self.core = cores.generators[0]
        self._posts = [
            worker.Post(core, server.dialect, server.addresses, body_bytes, number)
            for number, core in enumerate(cores.generators)
        ]
        self._writers = [0] * len(self._posts)
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Pipe] = []

    def __enter__(self) -> "Fleet":
        spawn = multiprocessing.get_context("spawn")
        for post in self._posts:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=worker.main, args=(theirs, post), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            try:
                pipe.send(orders.Quit())
            except OSError:  # it ended already
                continue
        for pipe in self._pipes:
            pipe.close()  # a worker that still tells its progress ends by that
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    # Orders. Each is given to all workers at the same time.

    def open(self, seats: Sequence[Seat], at_once: int, seconds: float) -> orders.Opened:
        """Connect clients, shared out in turn; return how many became ready, and how long each took."""
        self._watch.phase = "connecting"
        count = len(self._pipes)
        for index, seat in enumerate(seats):
            self._writers[index % count] += bool(seat.writes)
        given = [orders.Open(list(seats[index::count]), -(-at_once // count), seconds) for index in range(count)]
        return _opened(self._tell(given, orders.Opened, seconds))

    def bring_back(self, at_once: int, seconds: float) -> orders.Opened:
        """Connect those that were cut, with their cursors."""
        self._watch.phase = "coming back"
        order = orders.Return(-(-at_once // len(self._pipes)), seconds)
        return _opened(self._tell_all(order, orders.Opened, seconds))

    def load(self, pace: Pace, seconds: float, phase: str = "load") -> dict[str, int]:
        """Let the writers write for so long; return how many messages each channel got since the beginning."""
        self._watch.phase = phase
        start_ns = time.monotonic_ns() + int(_LEAD_SECONDS * 1e9)
        given = [orders.Load(self._share(pace, index), start_ns, seconds) for index in range(len(self._pipes))]
        answers = self._tell(given, orders.Loaded, seconds)
        sent: dict[str, int] = {}
        for answer in answers:
            sent.update(answer.sent)
        return sent

    def drain(self, sent: dict[str, int], seconds: float) -> orders.Drained:
        """Wait until everything that was sent has come, or for so long; return what came and what was wrong."""
        self._watch.phase = "draining"
        answers = self._tell_all(orders.Drain(sent, seconds), orders.Drained, seconds)
        return orders.Drained(
            deliveries=sum(answer.deliveries for answer in answers),
            acks=sum(answer.acks for answer in answers),
            delivery_latencies=_merged([answer.delivery_latencies for answer in answers]),
            ack_latencies=_merged([answer.ack_latencies for answer in answers]),
            checks=sum((answer.checks for answer in answers), Checks()),
            errors=_summed([answer.errors for answer in answers]),
            closes=_summed([answer.closes for answer in answers]),
        )

    def forget(self) -> None:
        """Begin new histograms."""
        self._tell_all(orders.Forget(), orders.Done, 0)

    def stop_reading(self, count: int) -> None:
        """Let so many readers, shared over the workers, stop reading."""
        parts = len(self._pipes)
        given = [orders.StopReading((count + index) // parts) for index in range(parts)]
        self._tell(given, orders.Done, 0)

    def read_again(self, sent: dict[str, int], seconds: float) -> Stopped:
        """Let those who stopped read what is there for them; return what became of them."""
        self._watch.phase = "reading again"
        answers = self._tell_all(orders.ReadAgain(sent, seconds), Stopped, seconds)
        return Stopped(
            closed=sum((answer.closed for answer in answers), Counter()),
            caught_up=sum(answer.caught_up for answer in answers),
            left=sum(answer.left for answer in answers),
            messages_behind=max(answer.messages_behind for answer in answers),
        )

    def cut(self, users: Collection[str]) -> None:
        """Cut the connections of these users for good, without a goodbye."""
        self._tell_all(orders.Cut(frozenset(users)), orders.Done, 0)

    def look(self, gone: Collection[str] = ()) -> Seen:
        """Return what those who watch users know, compared with who is gone."""
        answers = self._tell_all(orders.Look(frozenset(gone)), orders.Looked, 0)
        return sum((answer.seen for answer in answers), Seen())

    def drop(self, *, writers_too: bool) -> None:
        """Cut connections without a goodbye."""
        self._tell_all(orders.Drop(writers_too), orders.Done, 0)

    def hold(self, seconds: float, phase: str) -> None:
        """Let time pass, while the clients read and answer pings."""
        self._watch.phase = phase
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._hear({}, None)

    @property
    def pids(self) -> list[int]:
        """The load generator processes."""
        return [process.pid for process in self._processes if process.pid]

    def cpu_seconds(self) -> list[float]:
        """Return the CPU time of each worker so far."""
        return [procfs.cpu_seconds(process.pid) for process in self._processes if process.pid]

    def _share(self, pace: Pace, index: int) -> Pace:
        """Give a worker its part of a common rate, by how many of the writers are its."""
        return replace(pace, rate=pace.rate * self._writers[index] / max(1, sum(self._writers)))

    # Talking with the workers.

    def _tell_all(self, order: orders.Order, answer: type[_A], seconds: float) -> list[_A]:
        return self._tell([order] * len(self._pipes), answer, seconds)

    def _tell(self, given: Sequence[orders.Order], answer: type[_A], seconds: float) -> list[_A]:
        for pipe, order in zip(self._pipes, given, strict=True):
            pipe.send(order)
        answers: dict[int, _A] = {}
        deadline = time.monotonic() + seconds + _GRACE_SECONDS
        while len(answers) < len(self._pipes):
            if time.monotonic() > deadline:
                raise WorkerFailed(f"no answer to {type(given[0]).__name__} in time")
            self._hear(answers, answer)
        return [answers[index] for index in range(len(self._pipes))]

    def _hear(self, answers: dict[int, _A], kind: type[_A] | None) -> None:
        """Take what came from the workers in a tenth of a second."""
        for ready in wait(self._pipes, 0.1):
            index = self._pipes.index(ready)  # type: ignore[arg-type]  # only our pipes were waited for
            try:
                said = self._pipes[index].recv()
            except EOFError as error:
                raise WorkerFailed("a load generator process ended") from error
            if isinstance(said, orders.Progress):
                self._watch.take(index, said)
            elif isinstance(said, orders.Failed):
                raise WorkerFailed(said.reason)
            elif kind is not None and isinstance(said, kind):
                answers[index] = said
        self._watch.beat()


def _opened(answers: list[orders.Opened]) -> orders.Opened:
    return orders.Opened(
        asked=sum(answer.asked for answer in answers),
        ready=sum(answer.ready for answer in answers),
        seconds=max(answer.seconds for answer in answers),
        latencies=_merged([answer.latencies for answer in answers]),
    )


def _merged(histograms: list[Histogram]) -> Histogram:
    merged = Histogram()
    for histogram in histograms:
        merged.merge(histogram)
    return merged


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total
