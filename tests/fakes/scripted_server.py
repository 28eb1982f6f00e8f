"""A chatd that does only what a test says: it greets every connection, and hands it to the test."""

import json
import random
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import Any, Unpack

import msgpack
import trio
import trio_websocket

from client import Client, open_client
from client.options import Address, Given, TokenProvider

Raw = dict[str, Any]


class Peer:
    """The server's end of one connection that has said `connect`."""

    def __init__(self, stream: trio.abc.Stream, socket: trio_websocket.WebSocketConnection) -> None:
        self._stream = stream
        self._socket = socket
        self.hello: Raw = {}

    async def receive(self, kind: str) -> Raw:
        """Return the next command, which must be of this type."""
        payload = await self._socket.get_message()
        command: Raw = json.loads(payload) if isinstance(payload, str) else msgpack.unpackb(payload)
        assert command["type"] == kind, command
        return command

    async def say(self, kind: str, **fields: Any) -> None:
        """Send an object."""
        await self._put({"type": kind, **fields})

    async def _put(self, value: Raw) -> None:
        is_text = self._socket.subprotocol == "chatd.v1.json"
        await self._socket.send_message(json.dumps(value) if is_text else msgpack.packb(value))

    async def raw(self, payload: str | bytes) -> None:
        """Send what is no object."""
        await self._socket.send_message(payload)

    async def message(self, channel: str, seq: int, *, key: str = "", epoch: str = "e") -> None:
        """Send a message as an event."""
        await self._put(message(channel, seq, key=key, epoch=epoch))

    async def sent(self, command: Raw, seq: int, **fields: Any) -> None:
        """Answer a `send`."""
        await self.say("sent", id=command["id"], channel=command["channel"], epoch="e", seq=seq, at=seq, **fields)

    async def refuse(self, command: Raw, code: int, retry_after: float | None = None) -> None:
        """Answer a command with an error."""
        wait = {} if retry_after is None else {"retry_after": retry_after}
        await self.say("error", id=command["id"], code=code, reason="no", **wait)

    async def cut(self) -> None:
        """End the connection without a word."""
        await trio.aclose_forcefully(self._stream)

    async def close(self, code: int) -> None:
        """Close as the protocol says."""
        await self._socket.aclose(code, "because")


def message(channel: str, seq: int, *, key: str = "", epoch: str = "e", at: int | None = None) -> Raw:
    """Make a message's object, from bob."""
    place = {"channel": channel, "epoch": epoch, "seq": seq, "at": seq if at is None else at}
    return {"type": "message", **place, "from": "bob", "key": key or f"k{seq}", "data": {"n": seq}}


class ScriptedServer:
    """Accepts what `dial` opens. `greetings` are the `connected` fields of the next connections; `{}` without any."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._arrived, self._arrivals = trio.open_memory_channel[Peer](100)
        self.greetings: deque[Raw] = deque()
        self.refusals: deque[OSError | int] = deque()
        self.dialled: list[float] = []
        self.ping_seconds = 25.0

    def client(
        self, token: str | TokenProvider = "token", **options: Unpack[Given]
    ) -> AbstractAsyncContextManager[Client]:
        """Open a client of this server that throws its dice the same way each time."""
        given: Given = {"catch_up": False, **options, "dial": self.dial}
        return open_client("ws://chatd.test/v1/ws", token=token, chance=random.Random(1), **given)

    async def peer(self) -> Peer:
        """Return the next connection that was greeted, waiting for it."""
        return await self._arrivals.receive()

    async def dial(self, address: Address) -> trio.abc.Stream:
        """Open a connection, unless a refusal is due: an OSError, or a status for the handshake."""
        self.dialled.append(trio.current_time())
        refusal = self.refusals.popleft() if self.refusals else None
        if isinstance(refusal, OSError):
            raise refusal
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._accept, ours, refusal)
        return theirs

    async def _accept(self, stream: trio.abc.Stream, status: int | None) -> None:
        request = await trio_websocket.wrap_server_stream(self._nursery, stream)
        if status is not None:
            await request.reject(status, body=b"{}")
            return
        [subprotocol] = request.proposed_subprotocols
        peer = Peer(stream, await request.accept(subprotocol=subprotocol))
        try:
            peer.hello = await peer.receive("connect")
            greeting = self.greetings.popleft() if self.greetings else {}
            if "code" in greeting:
                await peer.refuse(peer.hello, greeting["code"], greeting.get("retry_after"))
                await peer.close(greeting["close"])
                return
            fields: Raw = {
                "user": "alice",
                "device": "d",
                "session": f"s{len(self.dialled)}",
                "time": int(trio.current_time() * 1000) + 1_000_000,
                "ping_seconds": self.ping_seconds,
                "expires": None,
                "resumed": {},
            }
            await peer.say("connected", id=peer.hello["id"], **(fields | greeting))
        except trio_websocket.ConnectionClosed:
            return
        await self._arrived.send(peer)
