"""The `/v1/echo` route: sends back every message it gets, for trying out clients and for conformance suites."""

import trio

from chatd.config import Config
from protocol.deflate import Deflate
from protocol.frames import FrameLimits, FrameReader, Opcode, close_payload, server_frame

_READ_BYTES = 65536


async def serve_echo(stream: trio.abc.Stream, *, data: bytes, window_bits: int, config: Config) -> None:
    """Echo on an upgraded connection until one side closes it; then close the stream.

    `data` is what came behind the handshake. The frames of one read are answered with one write. A peer that does not
    read its echoes for `stall_seconds` is cut off.
    """
    dev, websocket = config.dev, config.websocket
    limits = FrameLimits(dev.echo_message_bytes, dev.echo_message_bytes, dev.echo_fragments)
    reader = FrameReader(limits, inflate=window_bits > 0)
    deflate = Deflate(window_bits, websocket.deflate_level, websocket.deflate_min_bytes) if window_bits else None
    try:
        over = False
        while not over:
            answer, over = _answer(reader, data, deflate)
            with trio.fail_after(websocket.stall_seconds):
                await stream.send_all(answer)
            if not over:
                data = bytes(await stream.receive_some(_READ_BYTES))
                over = not data
        with trio.move_on_after(websocket.close_seconds):
            await _end(stream, peer_goes_on=reader.error is not None)
            await stream.aclose()
    except (trio.BrokenResourceError, trio.TooSlowError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


def _answer(reader: FrameReader, data: bytes, deflate: Deflate | None) -> tuple[bytes, bool]:
    """Return the answer to what these bytes completed, and whether it is the last one."""
    frames = []
    over = False
    for opcode, payload in reader.feed(data):
        match opcode:
            case Opcode.TEXT | Opcode.BINARY:
                frames.append(server_frame(opcode, payload) if deflate is None else deflate.frame(opcode, payload))
            case Opcode.PING:
                frames.append(server_frame(Opcode.PONG, payload))
            case Opcode.CLOSE:
                # "the endpoint typically echos the status code it received" (RFC 6455 section 5.5.1)
                frames.append(server_frame(Opcode.CLOSE, payload[:2]))
                over = True
    if reader.error is not None:
        frames.append(server_frame(Opcode.CLOSE, close_payload(reader.error.code, reader.error.reason)))
        over = True
    return b"".join(frames), over


async def _end(stream: trio.abc.Stream, *, peer_goes_on: bool) -> None:
    """Say that nothing more comes, and read until the peer says the same.

    Closing a socket with unread bytes in it sends a reset, and a reset can destroy the close frame before it is read.
    Where only both directions can be closed (TLS), a peer that said goodbye is not waited for: it waits for us.
    """
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    elif not peer_goes_on:
        return
    while await stream.receive_some(_READ_BYTES):
        pass
