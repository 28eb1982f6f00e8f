"""Hostile clients on a real node: each gets its code, nobody else notices, and the log stays calm.

While every test runs, two other sessions write to each other; a message that does not come fails the test.
"""

import random
import re
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx
import msgpack
import msgspec
import pytest
import trio

from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, client_frame, close_payload
from tests.system.process import NodeProcess, numbers
from tests.system.wire import MASK, PATIENCE_SECONDS, Wire, request, websocket_headers, wire

pytestmark = pytest.mark.system

CONNECTIONS = 200
SETTINGS: dict[str, object] = {
    "limits.head_seconds": 2.0,
    "limits.hello_seconds": 2.0,
    "limits.frame_bytes": 40_000,
    "limits.fragments": 10,
    "limits.outbox_bytes": 100_000,
    "limits.connects_per_second": 1000,
    "limits.connects_burst": 10_000,
    "limits.commands_burst": 1_000_000,
    "limits.messages_burst": 1_000_000,
    "limits.http_requests_burst": 10_000,
    "websocket.close_seconds": 1.0,
    "websocket.ping_seconds": 2.0,
    "websocket.stall_seconds": 1.0,
    "server.drain_seconds": 0.1,
}


class Canary(threading.Thread):
    """Two sessions in a thread of their own; one writes what the other waits for, again and again."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__(name="canary")
        self._node = node
        self._songs = 0
        self._sung = threading.Condition()
        self._told_to_stop = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Sing until `stop`, or until a song is not heard."""
        try:
            trio.run(self._sing)
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Wait for two more songs: one of them began after now."""
        with self._sung:
            goal = self._songs + 2
            heard = self._sung.wait_for(lambda: self._songs >= goal, PATIENCE_SECONDS)
        assert self._error is None
        assert heard

    def stop(self) -> None:
        """Let it end."""
        self._told_to_stop = True
        self.join()
        assert self._error is None

    async def _sing(self) -> None:
        async with wire(self._node) as one, wire(self._node) as other:
            await one.enter(self._node.token("canary"))
            await other.enter(self._node.token("miner"))
            await other.ask(type="subscribe", channel="track:canary")
            while not self._told_to_stop:
                song = {"n": self._songs}
                sent = await one.ask(type="send", channel="track:canary", key=f"k{self._songs}", data=song)
                assert sent["type"] == "sent", sent
                assert (await other.hear())["data"] == song
                with self._sung:
                    self._songs += 1
                    self._sung.notify_all()
                await trio.sleep(0.01)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Run one node for all tests of this file. At the end its log holds no fault."""
    running = NodeProcess(tmp_path_factory.mktemp("node"), SETTINGS).start()
    yield running
    running.stop()
    assert running.faults() == []


@pytest.fixture(scope="module")
def canary(node: NodeProcess) -> Iterator[Canary]:
    """Let two sessions write to each other while the tests of this file run."""
    singing = Canary(node)
    singing.start()
    yield singing
    singing.stop()


@pytest.fixture(autouse=True)
def _others_go_on(canary: Canary) -> Iterator[None]:
    yield
    canary.check()


@pytest.fixture
async def hostile(node: NodeProcess) -> AsyncIterator[Wire]:
    """A session whose token is good and whose intentions are not."""
    async with wire(node) as device:
        await device.enter(node.token("mallory"))
        yield device


TEXT = 0x80 | Opcode.TEXT
FRAMES = {
    "a frame over the limit": (b"\x81\xfe" + struct.pack("!H", 40_001) + MASK, CloseCode.TOO_BIG),
    "a frame of 2^40 bytes": (b"\x81\xff" + struct.pack("!Q", 2**40) + MASK, CloseCode.TOO_BIG),
    "a length of 64 bits": (b"\x81\xff" + b"\xff" * 8 + MASK, CloseCode.PROTOCOL_ERROR),
    "a message over the limit": (
        client_frame(Opcode.TEXT, b"x" * 40_000, MASK, fin=False) + client_frame(0, b"x" * 40_000, MASK),
        CloseCode.TOO_BIG,
    ),
    "too many fragments": (
        client_frame(Opcode.TEXT, b"", MASK, fin=False) + client_frame(0, b"", MASK, fin=False) * 10,
        CloseCode.TOO_BIG,
    ),
    "no mask": (b"\x81\x02{}", CloseCode.PROTOCOL_ERROR),
    "reserved bits": (b"\xb1\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    "compression that was not agreed on": (b"\xc1\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    "a reserved opcode": (b"\x83\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    "a continuation of nothing": (client_frame(0, b"x", MASK), CloseCode.PROTOCOL_ERROR),
    "a long ping": (b"\x89\xfe" + struct.pack("!H", 126) + MASK + bytes(126), CloseCode.PROTOCOL_ERROR),
    "a fragmented ping": (client_frame(Opcode.PING, b"", MASK, fin=False), CloseCode.PROTOCOL_ERROR),
    "a close code that is never sent": (
        client_frame(Opcode.CLOSE, struct.pack("!H", 1005), MASK),
        CloseCode.PROTOCOL_ERROR,
    ),
    "half a close code": (client_frame(Opcode.CLOSE, b"\x03", MASK), CloseCode.PROTOCOL_ERROR),
    "text that is not UTF-8": (client_frame(Opcode.TEXT, b'{"\xff":1}', MASK), CloseCode.INVALID_DATA),
    "a surrogate in UTF-8": (client_frame(Opcode.TEXT, b'"\xed\xa0\x80"', MASK), CloseCode.INVALID_DATA),
    "a binary message": (client_frame(Opcode.BINARY, b"\x80", MASK), CloseCode.UNSUPPORTED_DATA),
    "no JSON": (client_frame(Opcode.TEXT, b"\x00", MASK), CloseCode.BAD_MESSAGE),
    "an empty message": (client_frame(Opcode.TEXT, b"", MASK), CloseCode.BAD_MESSAGE),
    "no object": (client_frame(Opcode.TEXT, b"[1]", MASK), CloseCode.BAD_MESSAGE),
    "deep JSON": (client_frame(Opcode.TEXT, b"[" * 20_000, MASK), CloseCode.BAD_MESSAGE),
    "a huge id": (client_frame(Opcode.TEXT, b'{"type":"ping","id":' + b"9" * 5000 + b"}", MASK), CloseCode.BAD_MESSAGE),
}


@pytest.mark.parametrize(("said", "code"), FRAMES.values(), ids=FRAMES)
async def test_what_breaks_the_protocol_is_closed_with_its_code(hostile: Wire, said: bytes, code: CloseCode) -> None:
    await hostile.say(said)
    assert await hostile.close_code() == code


COMMANDS: dict[str, tuple[bytes, ErrorCode]] = {
    "an unknown command": (b'"type":"nonsense"', ErrorCode.UNKNOWN_COMMAND),
    "NUL in a channel": (b'"type":"subscribe","channel":"room:\\u0000"', ErrorCode.UNKNOWN_CHANNEL),
    "half a character for a type": (b'"type":"\\ud800"', ErrorCode.UNKNOWN_COMMAND),
    "half a character in a channel": (b'"type":"subscribe","channel":"room:\\ud800"', ErrorCode.BAD_REQUEST),
    "half a character in data": (
        b'"type":"send","channel":"room:a","key":"k","data":{"text":"\\ud83d"}',
        ErrorCode.BAD_REQUEST,
    ),
    "a newline in a channel": (b'"type":"subscribe","channel":"room:a\\n"', ErrorCode.UNKNOWN_CHANNEL),
    "a number for a channel": (b'"type":"subscribe","channel":5', ErrorCode.BAD_REQUEST),
    "a huge limit": (b'"type":"history","channel":"room:a","limit":' + b"9" * 400, ErrorCode.BAD_REQUEST),
    "a huge seq": (b'"type":"history","channel":"room:a","after":18446744073709551615', ErrorCode.BAD_REQUEST),
    "a huge since": (b'"type":"channels","since":9223372036854775808', ErrorCode.BAD_REQUEST),
    "no object for data": (b'"type":"send","channel":"room:a","key":"k","data":[1]', ErrorCode.BAD_REQUEST),
    "deep data": (
        b'"type":"send","channel":"room:a","key":"k","data":{"d":' + b"[" * 400 + b"]" * 400 + b"}",
        ErrorCode.BAD_REQUEST,
    ),
    "a key with a space": (b'"type":"send","channel":"room:a","key":"a b","data":{}', ErrorCode.BAD_REQUEST),
    "another's track": (b'"type":"send","channel":"track:canary","key":"k","data":{}', ErrorCode.FORBIDDEN),
    "a chat of others": (b'"type":"history","channel":"dm:alice:bob"', ErrorCode.FORBIDDEN),
    "a state that is none": (b'"type":"status","state":"online\\n"', ErrorCode.BAD_REQUEST),
}


@pytest.mark.parametrize(("fields", "code"), COMMANDS.values(), ids=COMMANDS)
async def test_a_command_that_cannot_be_is_refused_and_the_session_goes_on(
    hostile: Wire, fields: bytes, code: ErrorCode
) -> None:
    await hostile.frame(b'{"id":77,' + fields + b"}")
    answer = await hostile.hear()
    assert (answer["type"], answer["id"], answer["code"]) == ("error", 77, code)
    assert (await hostile.ask(type="ping"))["type"] == "ok"


async def test_data_that_one_encoding_cannot_say_reaches_readers_of_the_other(node: NodeProcess, hostile: Wire) -> None:
    async with wire(node) as reader:
        await reader.upgrade("Sec-WebSocket-Protocol: chatd.v1.msgpack")
        for number, command in enumerate(
            ({"type": "connect", "token": node.token("reader")}, {"type": "subscribe", "channel": "room:both"})
        ):
            await reader.frame(msgpack.packb({"id": number, **command}), Opcode.BINARY)
            await reader.next_frame()
        await hostile.ask(type="subscribe", channel="room:both")
        odd = [
            b'{"n":' + b"1" * 5000 + b"}",
            b'{"n":1e999,"m":-0.0}',
            b'{"n":"\\u0000"}',
            b'{"a":{"b":' * 40 + b"1" + b"}}" * 40,
        ]
        for number, data in enumerate(odd):
            await hostile.frame(b'{"type":"send","id":1,"channel":"room:both","key":"k%d","data":%s}' % (number, data))
        seen = 0
        while seen < len(odd):
            _, payload = await reader.next_frame()
            seen += b"message" in payload
        # Timestamps, extensions, keys that are no text, invalid floats: said in MessagePack, read in JSON.
        strange = [
            b"\x81\xa1n\xd6\xff\x00\x00\x00\x01",
            b"\x81\xa1n\xc7\x03\x05abc",
            b"\x81\x91\x01\xc0",
            b"\x81\xca\x7f\xc0\x00\x00\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
            b"\x81\xa1n\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x81\xa1n" * 80 + b"\xc0",
        ]
        head = {"type": "send", "id": 1, "channel": "room:both"}
        for number, data in enumerate(strange):
            packed = msgpack.packb({**head, "key": f"m{number}"})
            await reader.frame(bytes([packed[0] + 1]) + packed[1:] + b"\xa4data" + data, Opcode.BINARY)
        keys: set[str] = set()
        while len(keys) < len(odd) + len(strange):
            event = await hostile.hear()
            if event["type"] == "message":
                keys.add(event["key"])


def _deflated(size: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(bytes(size)) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (_deflated(30_000_000), CloseCode.TOO_BIG),
        (b"\xff\xff\xff\xff", CloseCode.INVALID_DATA),
        (_deflated(100), CloseCode.BAD_MESSAGE),
    ],
    ids=["a bomb", "no deflate data", "zeros"],
)
async def test_compressed_messages_are_bounded_when_they_are_inflated(
    node: NodeProcess, payload: bytes, code: CloseCode
) -> None:
    assert len(payload) < 40_000
    async with wire(node) as device:
        answer = await device.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
        assert "permessage-deflate" in answer.headers["sec-websocket-extensions"]
        await device.frame(payload, rsv1=True)
        assert await device.close_code() == code


FLOODS = {
    "answers": b'{"type":"history","id":1,"channel":"room:none"}',
    "refusals": b'{"type":"nonsense","id":1}',
    "sends": b'{"type":"send","id":1,"channel":"room:none","key":"k","data":{}}',
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_client_that_asks_and_never_reads_is_cut_off_and_costs_little(node: NodeProcess, kind: str) -> None:
    most = 0.0
    async with wire(node, receive_buffer=2048) as device, httpx.AsyncClient(base_url=node.http_url) as http:
        await device.enter(node.token(f"deaf-{kind}"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_for_ever, device, client_frame(Opcode.TEXT, FLOODS[kind], MASK) * 500)
            with trio.fail_after(20):
                while re.search(f"session closed .* user=deaf-{kind} .* code=4001", node.log) is None:
                    most = max(most, numbers((await http.get("/metrics")).text)["chatd_outbox_bytes"])
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    assert 0 < most < 2_000_000


async def _write_for_ever(device: Wire, frames: bytes) -> None:
    try:
        while True:
            await device.stream.send_all(frames)
    except trio.BrokenResourceError:
        return


async def test_a_client_that_sends_a_byte_at_a_time_is_served(node: NodeProcess) -> None:
    connect = msgspec.json.encode({"type": "connect", "id": 1, "token": node.token("slow")})
    async with wire(node) as device:
        await device.upgrade()
        for byte in client_frame(Opcode.TEXT, connect, MASK):
            await device.say(bytes([byte]))
        assert (await device.hear())["type"] == "connected"


async def test_a_client_that_is_slower_than_its_deadline_is_cut_off(node: NodeProcess) -> None:
    async with wire(node) as head, wire(node) as hello:
        await hello.upgrade()
        async with trio.open_nursery() as nursery:

            async def trickle(device: Wire, data: bytes) -> None:
                for byte in data:
                    await trio.sleep(0.3)
                    try:
                        await device.say(bytes([byte]))
                    except trio.BrokenResourceError:
                        return

            nursery.start_soon(trickle, head, request("/healthz"))
            nursery.start_soon(trickle, hello, client_frame(Opcode.TEXT, bytes(100), MASK))
            assert (await head.answer()).status == 408
            assert await hello.close_code() == CloseCode.HELLO_TIMEOUT
            nursery.cancel_scope.cancel()


async def test_half_a_frame_and_then_nobody(node: NodeProcess) -> None:
    async with wire(node) as device:
        await device.enter(node.token("half"))
        await device.say(client_frame(Opcode.TEXT, bytes(100), MASK)[:50])
    await trio.to_thread.run_sync(node.wait_for_log, "session closed .* user=half .* code=1006")


async def test_a_reset_in_the_middle_of_everything(node: NodeProcess) -> None:
    async with wire(node) as device:
        await device.enter(node.token("hard"))
        await device.ask(type="subscribe", channel="track:canary")
        await device.tell(type="history", channel="room:a")
        device.reset()
    await trio.to_thread.run_sync(node.wait_for_log, "session closed .* user=hard .* code=1006")


async def test_a_goodbye_is_answered_in_kind(hostile: Wire) -> None:
    await hostile.frame(close_payload(3000, "bye"), Opcode.CLOSE)
    assert await hostile.close_code() == 3000
    assert await hostile.rest() == b""


def _garbage(chance: random.Random) -> list[bytes]:
    """Make what one hostile connection says, in pieces."""
    kinds = (
        lambda: chance.randbytes(chance.randrange(3000)),
        lambda: request(
            "/" + chance.choice(("healthz", "v1/ws", "v1/auth/login", "%00", "..")), f"X: {chance.random()}"
        ),
        lambda: request("/v1/ws", *websocket_headers(chance.choice((8, 13, 14)))),
        lambda: client_frame(chance.randrange(16), chance.randbytes(chance.randrange(200)), MASK),
        lambda: client_frame(Opcode.TEXT, b'{"type":"ping","id":1}', MASK)[: chance.randrange(30)],
        lambda: b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: h\r\n\r\n" + chance.randbytes(20),
        lambda: b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n" + chance.randbytes(50),
        lambda: b"\r\n" * chance.randrange(5),
    )
    upgraded = [request("/v1/ws", *websocket_headers())] if chance.random() < 0.4 else []
    return upgraded + [chance.choice(kinds)() for _ in range(chance.randrange(1, 6))]


async def test_many_connections_of_garbage_at_once_harm_nobody(node: NodeProcess) -> None:
    before = node.sockets()
    lines = len(node.log.splitlines())

    async def attack(seed: int) -> None:
        chance = random.Random(seed)
        async with wire(node) as client:
            try:
                for piece in _garbage(chance):
                    await client.say(piece)
                    await trio.sleep(chance.random() / 50)
                match chance.randrange(3):
                    case 0:
                        client.reset()
                    case 1:
                        with trio.move_on_after(1):
                            await client.rest()
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        for seed in range(CONNECTIONS):
            nursery.start_soon(attack, seed)
    await trio.to_thread.run_sync(node.wait_for_sockets, before)
    said = node.log.splitlines()[lines:]
    assert len(said) <= CONNECTIONS
    async with httpx.AsyncClient(base_url=node.http_url) as http:
        metrics = numbers((await http.get("/metrics")).text)
    assert metrics["chatd_sessions"] == 2
