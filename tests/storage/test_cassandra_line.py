"""Tests of one connection to a node: who answers there is the test."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from storage import cassandra_wire as wire
from storage.cassandra_line import Entry, Line, LineBroken
from storage.cassandra_wire import Opcode
from tests.storage.test_cassandra_wire import said

ENTRY = Entry("192.0.2.1", 9042, user="chatd", password="secret")
REFUSED = struct.pack(">iH", 0x0100, 2) + b"no"

Node = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Told:
    """Keeps what lines tell, by a name."""

    def __init__(self) -> None:
        self.errors: dict[str, list[str]] = {}

    def as_(self, name: str) -> "partial[None]":
        """Return what a line calls."""
        return partial(self._take, name)

    def _take(self, name: str, error: str) -> None:
        self.errors.setdefault(name, []).append(error)


async def request(node: Node) -> tuple[int, int, bytes]:
    """Read one request."""
    header = b""
    while len(header) < 9:
        header += await node.receive_some(9 - len(header))
    _, _, stream, opcode, length = struct.unpack(">BBhBi", header)
    body = b""
    while len(body) < length:
        body += await node.receive_some(length - len(body))
    return stream, opcode, body


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Line, Node]]:
    """Run a line while the block lasts."""
    ours, theirs = trio.testing.memory_stream_pair()
    line = Line(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        yield line, theirs
        nursery.cancel_scope.cancel()


async def test_answers_reach_who_asked_in_any_order(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with running() as (line, node):
        for name in ("one", "two", "three"):
            line.send(name.encode(), told.as_(name))
        assert line.unanswered == 3
        streams = {body: stream for stream, _, body in [await request(node) for _ in range(3)]}
        await node.send_all(said(streams[b"three"], Opcode.RESULT, b"\0\0\0\1"))
        await node.send_all(said(streams[b"one"], Opcode.ERROR, REFUSED))
        await trio.testing.wait_all_tasks_blocked()
        assert told.errors == {"three": [""], "one": ["no (0x0100)"]}
        assert line.unanswered == 1
    assert told.errors["two"] == ["the connection was closed"]


async def test_a_broken_connection_is_told_to_all_who_wait_once(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with running() as (line, node):
        line.send(b"one", told.as_("one"))
        line.send(b"two", told.as_("two"))
        await request(node)
        await node.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not line.can_send
    assert [len(errors) for errors in told.errors.values()] == [1, 1]
    assert all("closed the connection" in errors[0] for errors in told.errors.values())


@pytest.mark.parametrize("sent", [b"\x15\x03\x03\x00\x02\x02\x50 and more", said(0, Opcode.ERROR, b"\0")])
async def test_what_is_no_frame_ends_the_connection(autojump_clock: trio.testing.MockClock, sent: bytes) -> None:
    told = Told()
    async with running() as (line, node):
        line.send(b"one", told.as_("one"))
        await node.send_all(sent)
        await trio.testing.wait_all_tasks_blocked()
        assert not line.can_send
    assert len(told.errors["one"]) == 1


async def test_a_stream_without_an_answer_is_not_used_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST_STREAMS", 4)
    told = Told()
    async with running() as (line, node):
        line.send(b"slow", told.as_("slow"))
        slow, _, _ = await request(node)
        for _ in range(10):
            line.send(b"quick", told.as_("quick"))
            stream, _, _ = await request(node)
            assert stream != slow
            await node.send_all(said(stream, Opcode.RESULT, b""))
            await trio.testing.wait_all_tasks_blocked()
    assert told.errors["quick"] == [""] * 10


async def test_the_oldest_request_says_how_long_a_node_hangs(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with running() as (line, node):
        assert line.waits_since() == float("inf")
        began = trio.current_time()
        line.send(b"one", told.as_("one"))
        await trio.sleep(3)
        line.send(b"two", told.as_("two"))
        assert line.waits_since() == began
        stream, _, _ = await request(node)
        await node.send_all(said(stream, Opcode.RESULT, b""))
        await trio.testing.wait_all_tasks_blocked()
        assert line.waits_since() == began + 3


async def answer(node: Node, *answers: tuple[int, bytes], asked: list[tuple[int, bytes]]) -> None:
    """Answer the first requests of a connection."""
    for opcode, body in answers:
        _, question, said_by_us = await request(node)
        asked.append((question, said_by_us))
        await node.send_all(said(0, opcode, body))


async def test_a_password_is_said_where_it_is_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    asked: list[tuple[int, bytes]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(answer, theirs, (Opcode.AUTHENTICATE, b"\0\1x"), (Opcode.AUTH_SUCCESS, b""), asked=asked)
        )
        await Line(ours).enter(ENTRY)
    assert [opcode for opcode, _ in asked] == [Opcode.STARTUP, Opcode.AUTH_RESPONSE]
    assert asked[1][1].endswith(b"\0chatd\0secret")


async def test_a_node_that_lets_nobody_in_says_why(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(answer, theirs, (Opcode.ERROR, REFUSED), asked=[]))
        with pytest.raises(LineBroken, match="no"):
            await Line(ours).enter(ENTRY)
