"""A load generator process: takes orders from a pipe, drives its crew, and reports."""

import contextlib
import gc
import os
import resource
import signal
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from bench import orders
from bench.connection import Connection
from bench.crew import Crew
from bench.dialects import Dialect
from bench.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Post:
    """Where a worker works, and with what."""

    core: int | None
    dialect: Dialect
    addresses: list[tuple[str, int]]
    body_bytes: int
    number: int = 0  # of the process: those behind the first have loopback addresses of their own


def main(pipe: Pipe, post: Post) -> None:
    """Serve orders until Quit or until the coordinator is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator hears it and tells us
    if post.core is not None:
        os.sched_setaffinity(0, {post.core})
    allow_many_descriptors()
    gc.disable()  # nothing here makes cycles, and a pause would be taken for the server's
    try:
        _Worker(pipe, post).serve()
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        with contextlib.suppress(OSError):
            pipe.send(orders.Failed(traceback.format_exc()))


def allow_many_descriptors() -> None:
    """Raise this process's limit of open files as far as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Worker:
    def __init__(self, pipe: Pipe, post: Post) -> None:
        self._pipe = pipe
        self._crew = Crew(post.dialect, post.addresses, post.body_bytes, self._progress, post.number)
        self._dropped: list[Connection] = []

    def serve(self) -> None:
        """Carry out orders. Between them the clients go on reading and answering pings."""
        try:
            while True:
                while not self._pipe.poll():
                    self._crew.rest_until(time.monotonic_ns() + 2_000_000)
                order: orders.Order = self._pipe.recv()
                if isinstance(order, orders.Quit):
                    return
                self._pipe.send(self._carry_out(order))
        finally:
            self._crew.close()

    def _carry_out(self, order: orders.Order) -> orders.Answer:
        crew = self._crew
        match order:
            case orders.Open(seats, at_once, seconds):
                return self._open(crew.seat(seats), at_once, seconds)
            case orders.Load(pace, start_ns, seconds):
                crew.load(pace, start_ns, seconds)
                return orders.Loaded(crew.sent())
            case orders.Drain(sent, seconds):
                return self._drained(crew.drain(sent, _in(seconds)))
            case orders.Forget():
                crew.forget()
            case orders.StopReading(count):
                readers = [connection for connection in crew.connections if not connection.seat.writes]
                crew.stop_reading(readers[len(readers) - count :])
            case orders.ReadAgain(sent, seconds):
                return crew.read_again(sent, _in(seconds))
            case orders.Cut(users):
                crew.cut(users)
            case orders.Look(gone):
                return orders.Looked(crew.seen(gone))
            case orders.Drop(writers_too):
                there = [one for one in crew.connections if one.fd >= 0]
                self._dropped = [one for one in there if writers_too or not one.seat.writes]
                crew.drop(self._dropped)
            case orders.Return(at_once, seconds):
                for connection in self._dropped:
                    connection.seat = connection.seat._replace(cursor=connection.cursor if connection.epoch else None)
                return self._open(self._dropped, at_once, seconds)
        return orders.Done()

    def _open(self, connections: list[Connection], at_once: int, seconds: float) -> orders.Opened:
        began = time.monotonic()
        latencies = self._crew.open(connections, at_once, _in(seconds))
        return orders.Opened(len(connections), latencies.total, time.monotonic() - began, latencies)

    def _drained(self, missing: int) -> orders.Drained:
        crew = self._crew
        return orders.Drained(
            deliveries=crew.deliveries.histogram.total,
            acks=crew.acks.histogram.total,
            delivery_latencies=crew.deliveries.histogram,
            ack_latencies=crew.acks.histogram,
            checks=crew.checks(missing),
            errors=dict(crew.totals.errors),
            closes=dict(crew.totals.closes),
        )

    def _progress(self, deliveries: Histogram, acks: Histogram) -> None:
        self._pipe.send(orders.Progress(deliveries, acks, self._crew.connected, time.process_time()))


def _in(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)
