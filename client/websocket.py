"""One WebSocket over one stream: trio-websocket, with compression, and with a reader whose failure ends only itself."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import trio
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import Event, Request
from wsproto.extensions import PerMessageDeflate

log = logging.getLogger("chatd.client")

RECEIVE_BYTES = 65536


class _Offering(WSConnection):
    """Offers permessage-deflate without context takeover, which trio-websocket has no argument for."""

    def send(self, event: Event) -> bytes:
        if isinstance(event, Request):
            deflate = PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)
            event = replace(event, extensions=[deflate])
        return super().send(event)


class HeardStream(trio.abc.Stream):
    """Passes everything on, and remembers when the other side was last heard: pings too, which trio-websocket hides."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.heard_at = trio.current_time()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send on the inner stream."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait on the inner stream."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive on the inner stream."""
        data = await self._stream.receive_some(max_bytes)
        self.heard_at = trio.current_time()
        return data

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._stream.aclose()


class WebSocket(trio_websocket.WebSocketConnection):
    """A client's WebSocket. `run` needs a task of its own; it never raises, and returns when the connection is over."""

    def __init__(
        self,
        stream: HeardStream,
        *,
        host: str,
        path: str,
        subprotocols: Iterable[str],
        compression: bool,
        max_message_bytes: int,
        extra_headers: list[tuple[bytes, bytes]],
    ) -> None:
        super().__init__(
            stream,
            (_Offering if compression else WSConnection)(ConnectionType.CLIENT),
            host=host,
            path=path,
            client_subprotocols=list(subprotocols),
            client_extra_headers=extra_headers,
            message_queue_size=1,
            max_message_size=max_message_bytes,
            receive_buffer_size=RECEIVE_BYTES,
        )
        self._heard = stream
        self.failure: Exception | None = None

    @property
    def heard_at(self) -> float:
        """When the server was last heard, by trio's clock."""
        return self._heard.heard_at

    async def run(self) -> None:
        """Read until the connection is over; keep in `failure` what trio-websocket would have raised."""
        try:
            await self._reader_task()
        except Exception as error:
            self.failure = error
            log.debug("the reader ended: %r", error)
        finally:
            self._open_handshake.set()
            self._close_handshake.set()

    async def opened(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            trio_websocket.HandshakeError: The server refused, or went away.
        """
        await self._open_handshake.wait()
        if isinstance(self.failure, trio_websocket.HandshakeError):
            raise self.failure
        if self.failure is not None or self.closed is not None:
            raise trio_websocket.HandshakeError("the connection ended in the handshake") from self.failure

    async def close(self, code: int, seconds: float) -> None:
        """Say goodbye, and close the stream whether or not it is answered in time; also when cancelled."""
        with trio.CancelScope(deadline=trio.current_time() + seconds, shield=True):
            await self.aclose(code)
        # trio-websocket leaves the stream open when the other side went first.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._heard)


def retry_after(refusal: trio_websocket.ConnectionRejected) -> float | None:
    """Return the seconds that a refused handshake says to wait."""
    headers: dict[bytes, Any] = {name.lower(): value for name, value in refusal.headers}
    try:
        return max(0.0, float(headers[b"retry-after"]))
    except (KeyError, ValueError):
        return None
