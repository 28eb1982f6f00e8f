"""Plain links: reads that wait, sends that do not, and every way in which a connection ends."""

import socket
import struct

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from chatd.link import READ_BYTES, Link
from chatd.stream import LinkStream
from tests.rig.links import plain_link, running_poller


async def _read_slowly(sock: socket.socket, count: int) -> int:
    """Read in small pieces until so many bytes came, or the end; return how many came."""
    got = 0
    reader = trio.socket.from_stdlib_socket(sock)
    with trio.fail_after(10):
        while got < count:
            data = await reader.recv(1000)
            if not data:
                break
            got += len(data)
    return got


async def test_bytes_come_as_they_were_sent_and_then_the_end() -> None:
    async with plain_link() as (link, peer):
        peer.send(b"one")
        assert await link.receive() == b"one"
        peer.send(b"two")
        peer.shutdown(socket.SHUT_WR)
        assert [await link.receive() for _ in range(3)] == [b"two", b"", b""]


async def test_a_flood_lets_other_tasks_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with plain_link() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(other)
        data = b"x" * READ_BYTES
        for _ in range(5):
            sent = peer.send(data)
            got = 0
            while got < sent:
                got += len(await link.receive())
        assert turns
        nursery.cancel_scope.cancel()


async def test_a_reset_is_an_end() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as peer:
        ours, _ = listener.accept()
        ours.setblocking(False)
        async with running_poller() as poller:
            link = Link(ours, "127.0.0.1", poller)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with trio.fail_after(5):
                assert await link.receive() == b""
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await link.send_all(b"x")
            link.shut()
            link.close()


async def test_more_than_the_socket_takes_is_sent_as_it_is_read() -> None:
    async with plain_link(buffer=4096) as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(link.send_all, b"x" * 300_000)
        assert await _read_slowly(peer, 300_000) == 300_000


async def test_who_closed_its_own_side_still_gets_the_whole_answer() -> None:
    async with plain_link(buffer=4096) as (link, peer), trio.open_nursery() as nursery:
        peer.shutdown(socket.SHUT_WR)
        assert await link.receive() == b""
        nursery.start_soon(link.send_all, b"x" * 300_000)
        assert await _read_slowly(peer, 300_000) == 300_000


async def test_who_leaves_in_the_middle_of_an_answer_ends_the_sending() -> None:
    async with plain_link(buffer=4096) as (link, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await link.send_all(b"x" * 300_000)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        peer.close()


async def test_peeking_takes_nothing_and_waits_for_more_than_is_known() -> None:
    async with plain_link() as (link, peer):
        peer.send(b"ab")
        assert await link.peek(0) == b"ab"
        found = []

        async def peek() -> None:
            found.append(await link.peek(2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(peek)
            await wait_all_tasks_blocked()
            assert not found
            peer.send(b"c")
        assert found == [b"abc"]
        assert await link.receive() == b"abc"
        peer.close()
        assert await link.peek(0) == b""


async def test_shutting_a_link_wakes_its_reader() -> None:
    async with plain_link() as (link, _):
        async with trio.open_nursery() as nursery:
            got = []

            async def read() -> None:
                got.append(await link.receive())

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            link.shut()
        assert got == [b""]


async def test_a_stream_over_a_link_keeps_the_promises_of_streams() -> None:
    async with plain_link() as (link, peer):
        stream = LinkStream(link)
        await stream.send_all(b"hello")
        assert peer.recv(100) == b"hello"
        peer.send(b"x")
        assert await stream.receive_some() == b"x"
        await stream.wait_send_all_might_not_block()
        await stream.send_eof()
        assert peer.recv(100) == b""
        await stream.aclose()
        await stream.aclose()
        for use in (stream.receive_some, stream.send_eof):
            with pytest.raises(trio.ClosedResourceError):
                await use()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


async def test_a_stream_says_that_its_link_is_broken() -> None:
    async with plain_link() as (link, peer):
        stream = LinkStream(link)
        peer.close()
        for use in (stream.send_all(b"x" * 100_000), stream.send_all(b"x")):
            with pytest.raises(trio.BrokenResourceError):
                await use
