"""What each thing that nodes ask of Redis costs it, measured on a real server with the scripts that nodes use.

Commands go over one connection, some at a time, as a busy node sends them; Redis' CPU seconds are divided by them. What
a command costs because many nodes hear of it is measured with so many connections that subscribed.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import hiredis

from bench import procfs
from bench.accounts import Population
from bench.dialects import Chatd
from bench.nodes import chatd_nodes
from bench.redis import redis_server
from bench.servers import CONFIG
from bench.targets import new_run
from chatd.redis.packing import pack
from chatd.redis.scripts import Script

_TOGETHER = 32
_WARM_SECONDS = 0.3
_READ_BYTES = 1 << 18
_TAG = "chatd:{s1}:"
_EPOCH = 1_700_000_000_000
_BODY = b"x" * 250  # a body of 200 bytes with sender, key and kind
_LETTER = b"x" * 400  # the same in post, with its channel and some users
_KEPT, _DEDUPE_MS, _GRACE_MS = 200, 600_000, 10_000
_ROOM, _GROUP = f"{_TAG}log:room:a", f"{_TAG}log:group:a"
_CHANGES = f"{_TAG}presence"
_POST = f"{_TAG}post"
_FOUND = f"{_TAG}found"
_USERS = 10_000

Ask = Callable[[int], bytes]
"""Makes the command with this number, which differs from all others where that matters."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that is asked of Redis, and the pub/sub channel in which nodes hear of it."""

    title: str
    ask: Ask
    heard_in: str = ""
    things: int = 1  # that one command does


def operations() -> dict[str, Operation]:
    """Return what nodes ask of Redis again and again."""
    append, apply = Script("append", 4), Script("presence_apply", 4)
    return {
        "room": Operation("a message of a room", lambda number: _append(append, number, _ROOM, "p"), _ROOM),
        "durable": Operation(
            "a message of a group or a direct chat", lambda number: _append(append, number, _GROUP, "d")
        ),
        "taken off": Operation(
            "taking it off the write-ahead stream", lambda number: pack(("XDEL", f"{_TAG}wal", f"{number + 1}-0"))
        ),
        "find": Operation("finding one member", _find, things=10),
        "post": Operation("posting it to a node", lambda _: pack(("SPUBLISH", _POST, _LETTER)), _POST),
        "presence": Operation("a user comes or goes", lambda number: _come_and_go(apply, number), _CHANGES),
        "look": Operation(
            "looking for leftovers in a shard", lambda _: pack(("XRANGE", f"{_TAG}none", "-", 1, "COUNT", 9))
        ),
    }


def measure(operation: Operation, nodes: int, seconds: float, core: int | None) -> float:
    """Return how many microseconds of Redis' CPU one takes when so many nodes hear of it."""
    with redis_server(core) as (pid, address):
        host, _, port = address.rpartition(":")
        where = (host, int(port))
        with _listeners(where, operation.heard_in, nodes), socket.create_connection(where) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = hiredis.Reader()
            for script in ("append", "presence_apply"):
                _converse(sock, reader, [Script(script, 4).load_command()])
            _converse(sock, reader, [pack(("XADD", log, f"{_EPOCH}-1", "m", "")) for log in (_ROOM, _GROUP)])
            _converse(sock, reader, [_remember("user", number) for number in range(_USERS)])
            number = _drive(sock, reader, operation.ask, 0, _WARM_SECONDS)
            before, first = procfs.cpu_seconds(pid), number
            number = _drive(sock, reader, operation.ask, number, seconds)
            used = procfs.cpu_seconds(pid) - before
    return used / (number - first) / operation.things * 1e6


def hearing(seconds: float, core: int | None) -> float:
    """Return how many microseconds of CPU it takes a node to hear that a user came or went somewhere else.

    Raises:
        ServerFailed: The node does not start.
    """
    with chatd_nodes("chatd", Chatd(new_run()), core, CONFIG, Population(), 1) as server:
        [redis] = [part for part in server.parts if not part.is_node]
        ask = operations()["presence"].ask
        with socket.create_connection(redis.address) as sock:
            reader = hiredis.Reader()
            _converse(sock, reader, [Script("presence_apply", 4).load_command()])
            number = _drive(sock, reader, ask, 0, _WARM_SECONDS)
            before, first = procfs.cpu_seconds(server.pid), number
            number = _drive(sock, reader, ask, number, seconds)
            return (procfs.cpu_seconds(server.pid) - before) / (number - first) * 1e6


def bytes_of(kind: str, count: int) -> float:
    """Return how many bytes of memory Redis takes for one remembered key ("key") or one user who is there ("user")."""
    with redis_server(None) as (_, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as sock:
            reader = hiredis.Reader()
            before = _used_memory(sock, reader)
            for start in range(0, count, _TOGETHER):
                _converse(sock, reader, [_remember(kind, number) for number in range(start, start + _TOGETHER)])
            return (_used_memory(sock, reader) - before) / count


def _remember(kind: str, number: int) -> bytes:
    if kind == "key":
        name = f"{_TAG}key:user{number} {number:016x}"
        return pack(("SET", name, f"{_EPOCH}-{number} {_EPOCH} {_EPOCH}-0 group:{number:016x}", "PX", _DEDUPE_MS))
    return pack(("HSET", _FOUND, f"user{number}", f"o|{_EPOCH}|0|node1.{_EPOCH}=o"))


def _used_memory(sock: socket.socket, reader: hiredis.Reader) -> int:
    [said] = _converse(sock, reader, [pack(("INFO", "memory"))])
    assert isinstance(said, bytes)
    return int(next(line for line in said.split() if line.startswith(b"used_memory:")).partition(b":")[2])


def _append(script: Script, number: int, log: str, flags: str) -> bytes:
    channel = log.partition("log:")[2]
    keys = (log, f"{_TAG}key:user{number % 1000} {number:016x}", f"{_TAG}wal", f"{_TAG}members:{channel}")
    return script.command((*keys, _EPOCH, _BODY, _KEPT, flags, channel, _DEDUPE_MS, 0, ""))


def _find(number: int) -> bytes:
    return pack(("HMGET", _FOUND, "#", *(f"user{(number * 7 + step) % _USERS}" for step in range(10))))


def _come_and_go(script: Script, number: int) -> bytes:
    """Let each user come, and go the next time."""
    user, sign = f"user{number // 2 % _USERS}", "o-"[number % 2]
    keys = (f"{_TAG}users", f"{_TAG}users:node1", f"{_TAG}leaving", f"{_TAG}dead:node1")
    return script.command((*keys, "node1", _GRACE_MS, _CHANGES, "SPUBLISH", 0, user, sign))


def _drive(sock: socket.socket, reader: hiredis.Reader, ask: Ask, number: int, seconds: float) -> int:
    """Ask for so long; return the number of the next command."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _converse(sock, reader, [ask(number + step) for step in range(_TOGETHER)])
        number += _TOGETHER
    return number


def _converse(sock: socket.socket, reader: hiredis.Reader, commands: list[bytes]) -> list[object]:
    """Send commands in one write, and return their answers.

    Raises:
        hiredis.ReplyError: The server refused one.
    """
    sock.sendall(b"".join(commands))
    answers: list[object] = []
    while len(answers) < len(commands):
        reader.feed(sock.recv(_READ_BYTES))
        while (answer := reader.gets()) is not False:
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
    return answers


@contextmanager
def _listeners(where: tuple[str, int], channel: str, count: int) -> Iterator[None]:
    """Let so many connections hear a channel, and read what comes."""
    if not channel or not count:
        yield
        return
    done = threading.Event()
    with selectors.DefaultSelector() as selector:
        socks = [socket.create_connection(where) for _ in range(count)]
        for sock in socks:
            sock.sendall(pack(("SSUBSCRIBE", channel)))
            assert sock.recv(_READ_BYTES)
            selector.register(sock, selectors.EVENT_READ)

        def read() -> None:
            while not done.is_set():
                for key, _ in selector.select(0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    key.fileobj.recv(_READ_BYTES)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            for sock in socks:
                sock.close()
