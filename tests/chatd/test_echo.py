"""The echo route over streams in memory, and over a real socket where resets matter."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio
import trio.testing

from chatd.config import Config
from chatd.echo import serve_echo
from protocol.codes import CloseCode
from protocol.deflate import Deflate
from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame, close_payload, server_frame

MASK = b"\1\2\3\4"
CONFIG = Config()
SMALL = msgspec.structs.replace(CONFIG, dev=msgspec.structs.replace(CONFIG.dev, echo_message_bytes=50))
TEXT, BINARY, MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return client_frame(opcode, payload, MASK, fin=fin, rsv1=rsv1)


class OneWay(trio.abc.Stream):
    """A stream that cannot be half closed, as TLS; it counts its writes."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.writes = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += bool(data)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


@asynccontextmanager
async def echo(
    *,
    data: bytes = b"",
    window_bits: int = 0,
    config: Config = CONFIG,
    wrap: Callable[[trio.abc.Stream], trio.abc.Stream] = lambda stream: stream,
) -> AsyncIterator[trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]]:
    """Serve one end of a pair in memory and give the other; the service must end with the block."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_echo(wrap(theirs), data=data, window_bits=window_bits, config=config))
        yield ours


async def read_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        assert more, f"the stream ended after {data!r}"
        data += more
    return data


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


async def test_messages_and_pings_come_back_in_their_order(autojump_clock: trio.testing.MockClock) -> None:
    sent = frame(TEXT, b"one") + frame(BINARY, b"t", fin=False) + frame(PING, b"p") + frame(MORE, b"wo") + frame(PONG)
    expected = server_frame(TEXT, b"one") + server_frame(PONG, b"p") + server_frame(BINARY, b"two")
    async with echo() as stream:
        await stream.send_all(sent)
        assert await read_exactly(stream, len(expected)) == expected
        await stream.send_all(frame(CLOSE, close_payload(3000, "enough")))
        assert await read_to_end(stream) == server_frame(CLOSE, close_payload(3000))
        await stream.aclose()
    assert trio.current_time() == 0


async def test_what_came_with_the_handshake_is_echoed() -> None:
    async with echo(data=frame(TEXT, b"early") + frame(CLOSE)) as stream:
        assert await read_to_end(stream) == server_frame(TEXT, b"early") + server_frame(CLOSE, b"")
        await stream.aclose()


async def test_the_frames_of_one_read_are_answered_with_one_write() -> None:
    streams: list[OneWay] = []

    def counted(stream: trio.abc.Stream) -> OneWay:
        streams.append(OneWay(stream))
        return streams[0]

    async with echo(data=frame(TEXT, b"x") * 100 + frame(PING) + frame(CLOSE), wrap=counted) as stream:
        await read_to_end(stream)
    assert streams[0].writes == 1


async def test_answers_are_compressed_when_that_was_agreed_on() -> None:
    text = b"again and again " * 20
    compressed = Deflate(15, 6, 0).frame(TEXT, text)[2:]
    async with echo(window_bits=9, data=frame(TEXT, compressed, rsv1=True) + frame(CLOSE)) as stream:
        answer = await read_to_end(stream)
        await stream.aclose()
    assert answer[0] == 0xC1
    reader = FrameReader(FrameLimits(1000, 1000, 1), inflate=True, masked=False)
    assert reader.feed(answer) == [(TEXT, text), (CLOSE, b"")]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(3), CloseCode.PROTOCOL_ERROR),
        (frame(TEXT, b"\xff"), CloseCode.INVALID_DATA),
        (frame(BINARY, b"x" * 51), CloseCode.TOO_BIG),
    ],
)
async def test_a_broken_rule_is_answered_after_what_came_before_it(bad: bytes, code: int) -> None:
    async with echo(config=SMALL) as stream:
        await stream.send_all(frame(TEXT, b"fine") + bad + frame(TEXT, b"too late"))
        answer = await read_to_end(stream)
        await stream.aclose()
    before = server_frame(TEXT, b"fine")
    assert answer.startswith(before)
    [(opcode, payload)] = FrameReader(FrameLimits(1, 1, 1), masked=False).feed(answer[len(before) :])
    assert opcode == CLOSE
    assert int.from_bytes(payload[:2]) == code
    assert len(payload) > 2


async def test_a_peer_that_does_not_close_is_waited_for_so_long(autojump_clock: trio.testing.MockClock) -> None:
    async with echo(data=frame(CLOSE)) as stream:
        await read_to_end(stream)
    assert trio.current_time() == CONFIG.websocket.close_seconds


async def test_without_half_closing_a_peer_that_said_goodbye_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with echo(data=frame(CLOSE), wrap=OneWay) as stream:
        assert await read_to_end(stream) == server_frame(CLOSE, b"")
    assert trio.current_time() == 0


async def test_without_half_closing_a_peer_that_broke_a_rule_may_read_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with echo(data=frame(3), wrap=OneWay) as stream:
        assert (await read_to_end(stream))[0] == 0x88
    assert trio.current_time() == CONFIG.websocket.close_seconds


async def test_a_peer_that_vanishes_ends_the_service() -> None:
    async with echo() as stream:
        await stream.send_all(frame(TEXT, b"unfini")[:-2])
        await stream.aclose()


async def test_a_peer_that_does_not_read_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    _, theirs = trio.testing.lockstep_stream_pair()
    await serve_echo(theirs, data=frame(TEXT, b"x"), window_bits=0, config=CONFIG)
    assert trio.current_time() == CONFIG.websocket.stall_seconds


@pytest.mark.system
async def test_a_close_frame_survives_what_the_peer_was_still_sending() -> None:
    """The kernel resets a connection that is closed with unread bytes; the reset would overtake the close frame."""
    flood = frame(BINARY, b"x" * 65536) * 16
    ended = trio.Event()

    async def handler(stream: trio.SocketStream) -> None:
        await serve_echo(stream, data=b"", window_bits=0, config=SMALL)
        ended.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        client = await trio.testing.open_stream_to_socket_listener(listeners[0])
        with trio.fail_after(10):
            await client.send_all(flood)
            answer = await read_to_end(client)
            await client.aclose()
            await ended.wait()
        nursery.cancel_scope.cancel()
    assert int.from_bytes(answer[2:4]) == CloseCode.TOO_BIG
