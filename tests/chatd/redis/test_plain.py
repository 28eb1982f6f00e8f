"""The plain stream does what trio's own does: whole sends, ends, and closing under a reader."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from chatd.redis.plain import PlainStream

MUCH = bytes(range(256)) * 40_000


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[PlainStream, trio.SocketStream]]:
    """Return both ends of a TCP connection."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = PlainStream(await trio.testing.open_stream_to_socket_listener(listener))
        theirs = await listener.accept()
        async with ours, theirs:
            yield ours, theirs


async def test_more_than_the_kernel_takes_is_sent_whole() -> None:
    async with pair() as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, MUCH)
        came = bytearray()
        while len(came) < len(MUCH):
            came += await theirs.receive_some(65536)
        assert came == MUCH


async def test_what_comes_is_read_and_then_the_end() -> None:
    async with pair() as (ours, theirs):
        await theirs.send_all(b"hello")
        assert await ours.receive_some(3) == b"hel"
        assert await ours.receive_some() == b"lo"
        await theirs.send_eof()
        assert await ours.receive_some() == b""


async def test_reading_at_once_takes_what_is_there_and_leaves_the_end_to_the_reader() -> None:
    async with pair() as (ours, theirs):
        assert ours.receive_nowait() == b""
        await theirs.send_all(b"hello")
        assert await ours.receive_some(1) == b"h"
        assert ours.receive_nowait() == b"ello"
        await theirs.send_eof()
        await trio.lowlevel.wait_readable(ours._socket)
        assert ours.receive_nowait() == b""
        assert await ours.receive_some() == b""


async def test_closing_it_wakes_its_reader_and_it_sends_no_more() -> None:
    async with pair() as (ours, _), trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive_some()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"x")


async def test_a_broken_connection_is_said() -> None:
    async with pair() as (ours, theirs):
        await trio.aclose_forcefully(theirs)

        async def send_on() -> None:
            while True:
                await ours.send_all(MUCH)

        with pytest.raises(trio.BrokenResourceError):
            await send_on()
