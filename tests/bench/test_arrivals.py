"""A latency ends when the bytes are at the client, not when the load generator comes round to reading them."""

import select
import socket
import time

from bench.arrivals import CONTROL_BYTES, monotonic_ns, note_arrivals, stamp_of

_TRIES = 1000  # the kernel begins to note times a moment after the first socket asked for them


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return server, client


def test_a_stamp_is_from_before_the_read_that_told_it() -> None:
    server, client = _pair()
    with server, client:
        note_arrivals(client)
        for _ in range(_TRIES):
            sent = time.time_ns()
            server.send(b"one")
            select.select((client,), (), ())
            there = time.time_ns()
            data, control, _, _ = client.recvmsg(100, CONTROL_BYTES)
            if control:
                break
        assert data == b"one"
        assert control
        ahead = time.time_ns() - time.monotonic_ns()
        arrived = monotonic_ns(stamp_of(control))[0] + ahead
        slack = 1_000_000  # of turning times of one clock into those of the other, twice
        assert sent - slack <= arrived <= there + slack


def test_what_the_kernel_has_not_noted_arrives_now() -> None:
    before = time.monotonic_ns()
    arrived = monotonic_ns(stamp_of([]) + stamp_of([]))
    assert len(arrived) == 2
    assert abs(arrived[0] - before) < 1_000_000_000
