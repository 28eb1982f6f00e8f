"""Batches of sends through io_uring, on real sockets: what arrives, and what is reported when a socket takes less."""

import errno
import select
import socket
from collections.abc import Iterator

import pytest

from chatd.ring import ENTRIES, SCRATCH_BYTES, Ring, open_ring, ring_head


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Return a ring; a system without io_uring has nothing to test here."""
    ring = open_ring()
    if ring is None:
        pytest.skip("this system does not allow io_uring: the hub sends without it")
    yield ring
    ring.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Return ten pairs of a sending socket, which never blocks, and its reader, which waits a while."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(10):
            reader = socket.create_connection(listener.getsockname(), timeout=10)
            sender, _ = listener.accept()
            sender.setblocking(False)
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pairs.append((sender, reader))
    yield pairs
    for pair in pairs:
        for sock in pair:
            sock.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def heads(pairs: Pairs) -> list[bytes]:
    return [ring_head(sender.fileno()) for sender, _ in pairs]


def fill(sender: socket.socket) -> None:
    """Write until the socket refuses even one byte, and still does after what it had sent was acknowledged."""
    refusals = 0
    while refusals < 2:
        try:
            sender.send(b"x" * (1 if refusals else 65536))
        except BlockingIOError:
            refusals += 1
            select.select([], [sender], [], 0.1)
        else:
            refusals = min(refusals, 1)


def read(reader: socket.socket, count: int) -> bytes:
    """Return the next `count` bytes."""
    received = b""
    while len(received) < count:
        received += reader.recv(count - len(received))
    return received


def test_the_same_bytes_reach_every_socket(ring: Ring, pairs: Pairs) -> None:
    assert ring.send_same(b"hello", heads(pairs)) == []
    assert [reader.recv(100) for _, reader in pairs] == [b"hello"] * 10


def test_each_socket_gets_its_own_bytes(ring: Ring, pairs: Pairs) -> None:
    items = [(head, b"%d" % number * (number + 1)) for number, head in enumerate(heads(pairs))]
    assert ring.send_each(items) == []
    assert [reader.recv(100) for _, reader in pairs] == [data for _, data in items]


def test_batches_go_on_past_the_end_of_the_ring(ring: Ring, pairs: Pairs) -> None:
    rounds = 3 * ring.size // len(pairs) + 1
    for number in range(rounds):
        data = b"%d" % number
        assert ring.send_same(data, heads(pairs)) == []
        assert [read(reader, len(data)) for _, reader in pairs] == [data] * 10


def test_a_batch_of_a_whole_ring_arrives_wherever_it_begins(ring: Ring, pairs: Pairs) -> None:
    ring.send_same(b"b", heads(pairs)[:3])
    assert ring.size == ENTRIES
    each = ring.size // 8
    assert ring.send_same(b"a", heads(pairs[:8]) * each) == []
    for number, (_, reader) in enumerate(pairs[:8]):
        expected = (b"b" if number < 3 else b"") + b"a" * each
        assert read(reader, len(expected)) == expected


def test_a_full_socket_is_reported_and_the_others_are_not_held_up(ring: Ring, pairs: Pairs) -> None:
    fill(pairs[4][0])
    assert ring.send_same(b"hello", heads(pairs)) == [(4, -errno.EAGAIN)]
    for number in (3, 5):
        assert pairs[number][1].recv(100) == b"hello"


def test_a_send_that_is_taken_in_part_says_how_much_was_taken(ring: Ring, pairs: Pairs) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    reader = socket.create_connection(listener.getsockname())
    sender, _ = listener.accept()
    with listener, reader, sender:
        sender.setblocking(False)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        data = bytes(range(256)) * (SCRATCH_BYTES // 256)
        taken = 0
        while True:
            refusals = ring.send_each([(ring_head(sender.fileno()), data)])
            if refusals:
                break
            taken += len(data)
        [(number, result)] = refusals
        assert number == 0
        assert 0 < result < len(data)
        sender.close()
        received = b"".join(iter(lambda: reader.recv(1 << 20), b""))
        assert len(received) == taken + result
        assert received[taken:] == data[:result]


def test_a_broken_socket_is_reported_with_its_error_and_raises_no_signal(ring: Ring, pairs: Pairs) -> None:
    pairs[7][0].shutdown(socket.SHUT_WR)
    assert ring.send_same(b"hello", heads(pairs)) == [(7, -errno.EPIPE)]
    assert ring.send_same(b"again", heads(pairs)[:2]) == []
