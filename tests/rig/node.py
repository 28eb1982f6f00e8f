"""A whole node in the test's own process, and devices that speak to it through real sockets, without the listener."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from chatd.config import Config
from chatd.link import Link
from chatd.node import Node, build_node
from chatd.server import parts_of, prepare
from chatd.session import Session
from protocol.codec import JSON, Codec
from protocol.format import Formats
from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame
from protocol.names import DeviceId, UserId
from storage.records import UserRecord
from storage.sqlite import SqliteStore, open_sqlite

SECRET = b"s" * 32
MASK = b"\x01\x02\x03\x04"
LIMITS = FrameLimits(65536, 65536, 64)

# A test that waits for something that does not come fails after this.
PATIENCE_SECONDS = 10.0


class Device:
    """One end of a connection whose other end is a session of the node."""

    def __init__(self, node: Node, sock: socket.socket, codec: Codec, session: Session) -> None:
        self.node = node
        self.session = session
        self.codec = codec
        self.sock = trio.socket.from_stdlib_socket(sock)
        self._reader = FrameReader(FrameLimits(2**26, 2**26, 64), masked=False)
        self._messages: list[tuple[int, bytes]] = []
        self._next_id = 0

    async def write(self, data: bytes) -> None:
        """Send raw bytes."""
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    def frame(self, command: dict[str, Any]) -> bytes:
        """Encode a command as the frame that a client sends."""
        library: Any = msgspec.json if self.codec is JSON else msgspec.msgpack
        return client_frame(self.codec.opcode, library.encode(command), MASK)

    async def say(self, *commands: dict[str, Any]) -> list[int]:
        """Send commands in one write; return the ids they got."""
        ids = []
        frames = []
        for command in commands:
            self._next_id += 1
            ids.append(self._next_id)
            frames.append(self.frame({"id": self._next_id, **command}))
        await self.write(b"".join(frames))
        return ids

    async def next_frame(self) -> tuple[int, bytes]:
        """Return the next frame of the session; (CLOSE, b"eof") when the connection ended."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not self._messages:
                data = await self.sock.recv(65536)
                if not data:
                    return Opcode.CLOSE, b"eof"
                self._messages += self._reader.feed(data)
                assert self._reader.error is None
        return self._messages.pop(0)

    async def hear(self) -> dict[str, Any]:
        """Return the next event or answer. Pings are left out."""
        while True:
            opcode, payload = await self.next_frame()
            if opcode == Opcode.PING:
                continue
            assert opcode == self.codec.opcode, (opcode, payload)
            library: Any = msgspec.json if self.codec is JSON else msgspec.msgpack
            event: dict[str, Any] = library.decode(payload)
            return event

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; return its answer, which must be the next thing that comes."""
        [command_id] = await self.say(command)
        answer = await self.hear()
        assert answer.get("id") == command_id, answer
        return answer

    async def close_code(self) -> int:
        """Return the code of the close frame, which may come after other things."""
        while True:
            opcode, payload = await self.next_frame()
            if opcode == Opcode.CLOSE:
                return int.from_bytes(payload[:2], "big") if payload != b"eof" else 1006

    async def silence(self) -> None:
        """Return if the session has nothing more to say: what is sent now would come after it."""
        [command_id] = await self.say({"type": "ping"})
        event = await self.hear()
        assert event == {"type": "ok", "id": command_id}, event

    def leave(self) -> None:
        """Hang up."""
        self.sock.close()


class Rig:
    """A running node, and the way to connect devices to it."""

    def __init__(self, node: Node, store: SqliteStore, nursery: trio.Nursery) -> None:
        self.node = node
        self.store = store
        self.devices: list[Device] = []
        self._nursery = nursery
        self._formats = Formats(deflate_level=6, deflate_min_bytes=128)

    def connect(self, codec: Codec = JSON, window_bits: int = 0, send_buffer: int = 0) -> Device:
        """Open a connection that has its WebSocket handshake behind it."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        ours.setblocking(False)
        if send_buffer:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        node = self.node
        link = Link(theirs, "192.0.2.1", node.poller)
        reader = FrameReader(LIMITS, inflate=window_bits > 0)
        session = Session(secrets.token_hex(8), link, self._formats.get(codec, window_bits), reader, node.hub)

        async def serve() -> None:
            node.hub.open(session)
            slot = node.keepalive.add(session)
            try:
                await session.run(node.listener.handlers, b"")
            finally:
                node.keepalive.remove(session, slot)
                node.hub.close(session)
                link.close()

        self._nursery.start_soon(serve)
        device = Device(node, ours, codec, session)
        self.devices.append(device)
        return device

    def token(self, user: str, *, guest: bool = False, device: str = "", seconds: int = 900) -> str:
        """Sign a token as the node does."""
        return self.node.tokens.issue(
            UserId(user), DeviceId(device or f"{user}-phone"), is_guest=guest, seconds=seconds
        )

    async def enter(self, user: str, *, guest: bool = False, device: str = "", **options: Any) -> Device:
        """Connect a device and say who it is."""
        connected = self.connect(**options)
        answer = await connected.ask(type="connect", token=self.token(user, guest=guest, device=device))
        assert answer["type"] == "connected", answer
        return connected

    async def register(self, *users: str) -> None:
        """Make accounts, without passwords."""
        for user in users:
            await self.store.add_user(UserRecord(user=UserId(user), password_hash=None, created_at=0))


@asynccontextmanager
async def running_node(folder: Path, config: Config | None = None) -> AsyncIterator[Rig]:
    """Run a node on a database in this folder; leave it as a clean shutdown does."""
    async with open_sqlite(folder / "chatd.sqlite3") as store:
        node = build_node(config or Config(), SECRET, store, store.jobs)
        async with trio.open_nursery() as nursery:
            await prepare(node, nursery)
            for part in parts_of(node):
                nursery.start_soon(part)
            running = Rig(node, store, nursery)
            try:
                yield running
            finally:
                nursery.cancel_scope.cancel()
                for device in running.devices:
                    device.leave()
        await node.broker.stop()


def changed(section: str, **keys: Any) -> Config:
    """Return the default configuration with some keys of one section changed."""
    config = Config()
    return msgspec.structs.replace(config, **{section: msgspec.structs.replace(getattr(config, section), **keys)})
