"""Requests beside a measured room, from a process of their own: at a rate, at random times, giving way to the readers.

The readers' process shares its core with this one, so a part of what readers notice of requests is the generator's own.
How much, `answering` tells: the same requests to a program that only answers, which leaves the server alone.
"""

import contextlib
import gc
import multiprocessing
import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from bench.api_load import Address, ApiLoad, ApiLoadFailed
from bench.cores import children_on

_READ_BYTES = 65536
_NICE = 10  # the readers come first: what they measure must not be a wait for this process
_ANSWER = b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Requests:
    """One request for each connection, all together `rate` a second for so long."""

    address: Address
    requests: Sequence[bytes]
    rate: float
    seconds: float


class Requesting:
    """A load that runs."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def wait(self) -> ApiLoad:
        """Return what it came to, when it is over.

        Raises:
            ApiLoadFailed: The server did not answer as it should.
        """
        found: ApiLoad | str = self._pipe.recv()
        if isinstance(found, str):
            raise ApiLoadFailed(found)
        return found


@contextlib.contextmanager
def requesting(order: Requests, core: int | None) -> Iterator[Requesting]:
    """Begin to send requests from this core."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    with _process(core, _request, (theirs, order)):
        theirs.close()
        if not ours.poll(_START_SECONDS):
            raise ApiLoadFailed("the process that sends requests did not start")
        ours.recv()
        yield Requesting(ours)


@contextlib.contextmanager
def answering(core: int | None) -> Iterator[Address]:
    """Run a program that answers every request at once; yields where it listens."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    with _process(core, _answer, (theirs,)):
        theirs.close()
        yield ours.recv()


@contextlib.contextmanager
def _process(core: int | None, target: object, args: tuple[object, ...]) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)  # type: ignore[arg-type]
    with children_on(core):
        process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _request(pipe: Pipe, order: Requests) -> None:
    os.nice(_NICE)
    gc.disable()
    sender = _Sender(order)
    pipe.send(None)
    try:
        pipe.send(sender.run())
    except (OSError, ApiLoadFailed) as error:
        pipe.send(str(error))


class _Sender:
    """Sends each request at its time, or as soon as a connection is free: late ones are made up for."""

    def __init__(self, order: Requests) -> None:
        self._order = order
        self._epoll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, bytes]] = {}
        for request in order.requests:
            opened = socket.create_connection(order.address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[opened.fileno()] = opened, request
            self._epoll.register(opened.fileno(), select.EPOLLIN)
        self._free = deque(self._sockets)
        self._sent_at: dict[int, float] = {}

    def run(self) -> ApiLoad:
        chance = random.Random(1)
        load = ApiLoad(seconds=self._order.seconds)
        due = time.perf_counter()
        end = due + self._order.seconds
        while (now := time.perf_counter()) < end:
            while due <= now and self._free:
                self._send(self._free.popleft())
                due += chance.expovariate(self._order.rate)
            wait = max(0.0, min(due, end) - time.perf_counter()) if self._free else end - now
            for number, _ in self._epoll.poll(wait, len(self._sockets)):
                self._take(number, load)
        return load

    def _send(self, number: int) -> None:
        opened, request = self._sockets[number]
        self._sent_at[number] = time.perf_counter()
        opened.sendall(request)

    def _take(self, number: int, load: ApiLoad) -> None:
        """Take an answer: short as they are, each comes whole."""
        data = self._sockets[number][0].recv(_READ_BYTES)
        if not data.startswith(b"HTTP/1.1 20"):
            raise ApiLoadFailed(data[:200].decode(errors="replace") or "the server closed the connection")
        load.answered += 1
        load.latencies.append(time.perf_counter() - self._sent_at[number])
        self._free.append(number)


def _answer(pipe: Pipe) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname())
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    accepted: dict[int, socket.socket] = {}
    while True:
        for number, _ in epoll.poll():
            if number == listener.fileno():
                one, _ = listener.accept()
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted[one.fileno()] = one
                epoll.register(one.fileno(), select.EPOLLIN)
            elif accepted[number].recv(_READ_BYTES):
                accepted[number].sendall(_ANSWER)
            else:
                epoll.unregister(number)
                accepted.pop(number).close()
