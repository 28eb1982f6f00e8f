"""One connection: commands go out and get their answers, events come in, until it is over."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
import trio_websocket

from client.codec import Codec
from client.errors import (
    ABNORMAL,
    MALFORMED,
    PROTOCOL_ERROR,
    BadAnswer,
    ClientError,
    ConnectionClosed,
    RequestError,
)
from client.websocket import WebSocket

log = logging.getLogger("chatd.client")

Raw = dict[str, Any]
OnAnswer = Callable[[Raw | ClientError], None]
"""Takes the answer to a command, or the error, on the reader's task and before anything later is read."""

CLOSE_SECONDS = 5.0
WAITING_FRAMES = 10_000


class Connection:
    """Owns a WebSocket that is open. All that is written goes through one task, so a cancelled caller cuts no frame."""

    def __init__(
        self, socket: WebSocket, codec: Codec, on_event: Callable[[Raw], None], on_begin: Callable[[], None]
    ) -> None:
        self._socket = socket
        self._codec = codec
        self._on_event = on_event
        self._on_begin = on_begin
        self._next_id = 1
        self._open: dict[int, OnAnswer] = {}
        self._outgoing, self._to_write = trio.open_memory_channel[str | bytes](WAITING_FRAMES)
        self._answered = trio.Event()
        self.refusal: RequestError | None = None
        """The error without id that came before the close."""
        self.retry_after: float | None = None
        """What the last error asked to wait."""

    @property
    def is_awaited(self) -> bool:
        """Tell whether a command waits for its answer."""
        return bool(self._open)

    def begin(self, command: Raw, on_answer: OnAnswer) -> bool:
        """Send a command without waiting; `on_answer` is called exactly once, at the latest when the connection ends.

        Returns False, and does nothing, when nothing can be sent any more.

        Raises:
            ValueError, TypeError, OverflowError: The command cannot be encoded; nothing was sent.
        """
        number = self._next_id
        payload = self._codec.encode({**command, "id": number})
        try:
            self._outgoing.send_nowait(payload)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._next_id += 1
        self._open[number] = on_answer
        self._on_begin()
        return True

    async def call(self, command: Raw, at_once: Callable[[Raw], None] | None = None) -> Raw:
        """Send a command and return its answer; `at_once` sees a good answer before anything later is read.

        Raises:
            RequestError: The server refused.
            ConnectionClosed: The connection ended before the answer.
        """
        done = trio.Event()
        answers: list[Raw | ClientError] = []

        def on_answer(answer: Raw | ClientError) -> None:
            try:
                if at_once and not isinstance(answer, ClientError):
                    at_once(answer)
            except MALFORMED as error:
                answer = BadAnswer(f"the answer to `{command['type']}` lacks something: {error!r}")
            answers.append(answer)
            done.set()

        if not self.begin(command, on_answer):
            raise ConnectionClosed(ABNORMAL, "the connection is over")
        await done.wait()
        [answer] = answers
        if isinstance(answer, ClientError):
            raise answer
        return answer

    async def write_loop(self) -> None:
        """Write what was begun, in order, until the connection is over."""
        with suppress(trio_websocket.ConnectionClosed), self._to_write:
            async for payload in self._to_write:
                await self._socket.send_message(payload)

    async def read_loop(self, room: Callable[[], Awaitable[None]]) -> ConnectionClosed:
        """Hand on answers and events until the connection is over; return how it ended. `room` may hold the reading."""
        try:
            while True:
                await room()
                self._take(self._codec.decode(await self._socket.get_message()))
        except trio_websocket.ConnectionClosed as error:
            code = error.reason.code if error.reason else ABNORMAL
            reason = (error.reason.reason if error.reason else None) or ""
            return ConnectionClosed(code, reason or (self.refusal.reason if self.refusal else ""))
        except (BadAnswer, *MALFORMED) as error:
            log.warning("the server broke the protocol: %r", error)
            await self.close(PROTOCOL_ERROR)
            return ConnectionClosed(ABNORMAL, f"the server broke the protocol: {error!r}")

    async def settled(self, seconds: float) -> None:
        """Wait until no command waits for its answer, but not longer than that."""
        with trio.move_on_after(seconds):
            while self._open:
                await self._answered.wait()

    async def close(self, code: int = 1000) -> None:
        """Say goodbye and close; the answer is awaited for some seconds only."""
        await self._socket.close(code, CLOSE_SECONDS)

    def end(self, why: ConnectionClosed) -> None:
        """Give every open command its error."""
        self._outgoing.close()
        waiting, self._open = self._open, {}
        for on_answer in waiting.values():
            on_answer(why)

    def _take(self, raw: Raw) -> None:
        number = raw.get("id")
        if number is not None:
            self._answered.set()
            self._answered = trio.Event()
        if raw["type"] == "error":
            error = RequestError(raw["code"], raw["reason"], raw.get("retry_after"))
            self.retry_after = error.retry_after
            if number is None:
                self.refusal = error
            elif on_answer := self._open.pop(number, None):
                on_answer(error)
        elif number is None:
            self._on_event(raw)
        elif on_answer := self._open.pop(number, None):
            on_answer(raw)
