"""A client of the kill test: a trio socket, frames by the project's own codec, and a ledger that it fills."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import trio

from bench.dialects import Chatd, is_upgraded, upgrade_request
from bench.ledger import Ledger, Row
from protocol.codes import may_retry
from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame

_LIMITS = FrameLimits(frame_bytes=2**24, message_bytes=2**24, fragments=1)
_MASK = b"bnch"
_PAGE = 200
_FIRST_SEND_ID = 1000  # smaller ids are of other commands
_READ_BYTES = 65536

_CUT = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Refused(Exception):
    """The server answered with an error, or ended the connection with a code, where it must not."""


class KillClient:
    """One connection, for one round."""

    def __init__(self, ledger: Ledger, address: tuple[str, int], sign: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._address = address
        self._sign = sign
        self._reader = FrameReader(_LIMITS, masked=False)
        self._waiting: deque[dict[str, Any]] = deque()
        self._asked = 0

    async def write_until_cut(self, in_flight: int, answered: Callable[[], None]) -> None:
        """Resend what is open, then keep so many sends unanswered until the connection is cut; tell of each answer."""
        with suppress(*_CUT):
            async with self._connected(self._ledger.writer):
                await self._resend()
                while len(self._ledger.open) < in_flight:
                    await self._send(self._ledger.next_key(), retry=False)
                while True:
                    await self._answered(await self._hear())
                    answered()
                    if len(self._ledger.open) < in_flight:
                        await self._send(self._ledger.next_key(), retry=False)

    async def read_until_cut(self) -> None:
        """Note every message that the reader is given."""
        with suppress(*_CUT):
            async with self._connected(self._ledger.reader):
                while True:
                    event = await self._hear()
                    if event["type"] == "message":
                        self._ledger.seen[event["seq"]] = event["key"]

    async def resend_open(self) -> None:
        """Resend what is open and return when all of it is acknowledged."""
        async with self._connected(self._ledger.writer):
            await self._resend()
            while self._ledger.open:
                await self._answered(await self._hear())

    async def read_history(self) -> list[Row]:
        """Read the channel from its beginning, page by page."""
        rows: list[Row] = []
        more = True
        async with self._connected(self._ledger.writer):
            while more:
                after = rows[-1].seq if rows else 0
                asked = {"type": "history", "channel": self._ledger.channel, "after": after, "limit": _PAGE}
                page = await self._ask(asked)
                rows += [Row(one["epoch"], one["seq"], one["key"]) for one in page["messages"]]
                more = page["more"]
        return rows

    # The connection.

    @asynccontextmanager
    async def _connected(self, user: str) -> AsyncIterator[None]:
        """Be connected as this user; the socket is closed at once on the way out."""
        self._stream = await trio.open_tcp_stream(*self._address)
        try:
            await self._greet(user)
            yield
        finally:
            self._stream.socket.close()

    async def _greet(self, user: str) -> None:
        await self._stream.send_all(upgrade_request(Chatd(""), f"{self._address[0]}:{self._address[1]}"))
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise trio.BrokenResourceError
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        if not is_upgraded(head):
            raise Refused(head.decode("latin-1"))
        self._feed(rest)
        await self._ask({"type": "connect", "token": self._sign(user)})

    async def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Say a command and return its answer; events before it are dropped."""
        self._asked += 1
        await self._say(command, self._asked)
        while True:
            said = await self._hear()
            if said.get("id") == self._asked:
                if said["type"] == "error":
                    raise Refused(f"{command['type']}: {said['code']} {said['reason']}")
                return said

    async def _resend(self) -> None:
        """Send what is open once more, in the order of the first sends."""
        for key in list(self._ledger.open):
            await self._send(key, retry=True)

    async def _send(self, key: str, *, retry: bool) -> None:
        self._ledger.resent += retry
        number = int(key[1:])
        command = {"type": "send", "channel": self._ledger.channel, "key": key, "data": {"n": number}, "retry": retry}
        await self._say(command, _FIRST_SEND_ID + number)

    async def _say(self, command: dict[str, Any], number: int) -> None:
        frame = client_frame(Opcode.TEXT, msgspec.json.encode(command | {"id": number}), _MASK)
        await self._stream.send_all(frame)

    def _feed(self, data: bytes) -> None:
        for opcode, payload in self._reader.feed(data):
            if opcode == Opcode.TEXT:
                self._waiting.append(msgspec.json.decode(payload))

    async def _hear(self) -> dict[str, Any]:
        """Return the next thing that the server says.

        Raises:
            BrokenResourceError: The connection was cut.
        """
        while not self._waiting:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise trio.BrokenResourceError
            self._feed(data)
        return self._waiting.popleft()

    async def _answered(self, answer: dict[str, Any]) -> None:
        """Note an acknowledgement; send again what the server asks to be sent again."""
        if "id" not in answer:
            return
        key = f"m{answer['id'] - _FIRST_SEND_ID}"
        if answer["type"] == "sent":
            duplicate = answer.get("duplicate", False)
            self._ledger.acknowledge(key, answer["epoch"], answer["seq"], duplicate=duplicate)
        elif may_retry(answer["code"]):
            await self._send(key, retry=True)
        else:
            raise Refused(f"send: {answer['code']} {answer['reason']}")
