"""The sends of a turn reach every session in whatever state it is, with a ring and without."""

import socket
from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest

from chatd.batch import Batch
from chatd.config import Config
from chatd.counters import Counters
from chatd.hub import Hub
from chatd.link import Link
from chatd.outlet import State
from chatd.ring import SCRATCH_BYTES, open_ring, ring_head
from chatd.session import Session
from chatd.settings import Settings
from protocol.codec import JSON
from protocol.format import Formats
from protocol.frames import FrameLimits, FrameReader
from tests.fakes.hand_link import HandLink


class SocketLink(HandLink):
    """A link over a real socket, for the ring and for `send`."""

    def __init__(self) -> None:
        super().__init__()
        self.sock, self.reader = socket.socketpair()
        self.sock.setblocking(False)
        self.reader.setblocking(False)
        self.ring_head = ring_head(self.sock.fileno())

    def send(self, data: bytes | memoryview) -> int:
        """Send to the socket."""
        self.sends += 1
        return self.sock.send(data)

    def fill(self) -> int:
        """Write until the socket refuses; return how many bytes it took."""
        taken = 0
        try:
            while True:
                taken += self.sock.send(b"x" * 65536)
        except BlockingIOError:
            return taken

    def read(self) -> bytes:
        """Return what came, as far as it is there."""
        received = b""
        try:
            while data := self.reader.recv(1 << 20):
                received += data
        except BlockingIOError:
            pass
        return received

    def close(self) -> None:
        """Close both ends."""
        self.sock.close()
        self.reader.close()


class Crowd:
    """Sessions over real sockets, enough of them for the ring."""

    def __init__(self, size: int = 12) -> None:
        self.hub = Hub(Settings(Config()), Counters(), lambda: 0.0, lambda: 0.0)
        ids = count()
        format_ = Formats(deflate_level=6, deflate_min_bytes=100).get(JSON, 0)
        self.links = [SocketLink() for _ in range(size)]
        self.sessions = [
            Session(f"s{next(ids)}", cast(Link, link), format_, FrameReader(FrameLimits(65536, 65536, 64)), self.hub)
            for link in self.links
        ]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """Return a crowd whose sockets are closed at the end."""
    crowd = Crowd()
    yield crowd
    for link in crowd.links:
        link.close()


@pytest.fixture(params=["ring", "sends"])
def batch(request: pytest.FixtureRequest) -> Iterator[Batch]:
    """Return a batch with a ring, and one without."""
    batch = Batch()
    if request.param == "ring":
        batch.ring = open_ring()
        if batch.ring is None:
            pytest.skip("this system does not allow io_uring")
    yield batch
    batch.close()


def test_everybody_gets_the_bytes(batch: Batch, crowd: Crowd) -> None:
    batch.send_same(b"hello", crowd.sessions)
    assert [link.read() for link in crowd.links] == [b"hello"] * 12
    assert all(bool(link.sends) is (batch.ring is None) for link in crowd.links)


def test_bytes_larger_than_the_rings_memory_go_out_too(batch: Batch, crowd: Crowd) -> None:
    data = b"y" * (SCRATCH_BYTES + 1)
    batch.send_same(data, crowd.sessions)
    for link, session in zip(crowd.links, crowd.sessions, strict=True):
        received = link.read()
        while session.outbox_bytes:
            link.open_up()
            received += link.read()
        assert received == data


def test_a_session_that_holds_its_answers_gets_all_in_its_order(batch: Batch, crowd: Crowd) -> None:
    for number, session in enumerate(crowd.sessions):
        session.write(b"answer %d;" % number)
    batch.send_same(b"event", crowd.sessions)
    assert not any(link.read() for link in crowd.links)
    batch.flush(crowd.sessions)
    assert [link.read() for link in crowd.links] == [b"answer %d;event" % number for number in range(12)]
    batch.flush(crowd.sessions)
    assert not any(link.read() for link in crowd.links)


def test_a_full_socket_keeps_the_bytes_until_it_takes_them(batch: Batch, crowd: Crowd) -> None:
    filled = crowd.links[3].fill()
    batch.send_same(b"first", crowd.sessions)
    batch.send_same(b"second", crowd.sessions)
    assert crowd.sessions[3].outbox_bytes == len(b"firstsecond")
    assert crowd.links[4].read() == b"firstsecond"
    received = crowd.links[3].read()
    crowd.links[3].open_up()
    received += crowd.links[3].read()
    assert received == b"x" * filled + b"firstsecond"
    batch.send_same(b"third", crowd.sessions)
    assert crowd.links[3].read() == b"third"


def test_a_full_socket_keeps_what_a_session_held_back(batch: Batch, crowd: Crowd) -> None:
    filled = crowd.links[0].fill()
    for session in crowd.sessions:
        session.write(b"answer")
    batch.flush(crowd.sessions)
    received = crowd.links[0].read()
    crowd.links[0].open_up()
    received += crowd.links[0].read()
    assert received == b"x" * filled + b"answer"


def test_a_broken_connection_ends_its_session_and_no_other(batch: Batch, crowd: Crowd) -> None:
    crowd.links[5].reader.close()
    batch.send_same(b"hello", crowd.sessions)
    assert crowd.sessions[5].state is State.CLOSED
    assert [session.state for session in crowd.sessions].count(State.CLOSED) == 1
    assert crowd.links[6].read() == b"hello"


def test_a_connection_without_a_place_in_the_ring_gets_its_bytes_by_its_own_send(batch: Batch) -> None:
    crowd = Crowd()
    plain = HandLink()
    session = Session("tls", plain.as_link(), crowd.sessions[0].format, FrameReader(FrameLimits(9, 9, 9)), crowd.hub)
    crowd.sessions.insert(2, session)
    batch.send_same(b"hello", crowd.sessions)
    session.write(b" again")
    batch.flush(crowd.sessions)
    assert plain.sent == b"hello again"
    assert [link.read() for link in crowd.links] == [b"hello"] * 12
    for link in crowd.links:
        link.close()


def test_a_session_that_fails_while_it_is_flushed_harms_no_other(batch: Batch, crowd: Crowd) -> None:
    for session in crowd.sessions:
        session.write(b"answer")
    crowd.sessions[2]._held = [cast(bytes, "no bytes"), b"x"]
    batch.flush(crowd.sessions)
    assert crowd.sessions[2].state is State.CLOSED
    assert [link.read() for link in crowd.links].count(b"answer") == 11
