"""The servers under test: started here on one core and stopped here, or given by address."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import procfs
from bench.accounts import OpenStore, Population, populate, sqlite_under
from bench.cores import children_on
from bench.dialects import Centrifugo, Chatd, Dialect
from bench.warming import Warming
from chatd import __version__
from chatd.secret import load_or_create

CONFIG = Path(__file__).with_name("config.toml")
SECRET_FILE = "secret"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_ADDRESS = re.compile(r"\b(?:https?|wss?)://([0-9.]+):([0-9]+)|\b(127\.[0-9.]+):([0-9]+)")


class ServerFailed(Exception):
    """The server did not start, or ended."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database that is no file of the server's own."""

    open_store: OpenStore
    environment: Mapping[str, str]  # what tells chatd to use it
    warming: Warming | None = None  # of one that was started for this run


@dataclass(frozen=True, slots=True)
class Part:
    """One more process of a server: a node, a worker, or a Redis, which holds no connections of clients."""

    name: str
    pid: int
    is_node: bool = True
    address: tuple[str, int] = ("", 0)  # of a Redis


@dataclass(slots=True)
class Server:
    """A server that runs. `pid` is 0 when it is not ours to measure; `secret` signs tokens, if it takes any.

    A server of several nodes has more addresses and more processes; all of them together are what is measured.
    """

    name: str
    version: str
    dialect: Dialect
    address: tuple[str, int]
    pid: int
    secret: bytes = b""
    more_addresses: tuple[tuple[str, int], ...] = ()
    parts: tuple[Part, ...] = ()
    warming: Warming | None = None
    """How its database is warmed, if that was started for this run."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where its nodes listen."""
        return [self.address, *self.more_addresses]

    def cpu_seconds(self) -> float:
        """Return its CPU time so far; 0 when it cannot be measured.

        Raises:
            ServerFailed: It is gone.
        """
        try:
            return sum(procfs.cpu_seconds(pid) for pid in self._pids())
        except OSError as error:
            raise ServerFailed(f"{self.name} ended during the run") from error

    def cpu_seconds_by_part(self) -> dict[str, float]:
        """Return the CPU time of each process so far, the first one's as "first"; nothing where there is only one."""
        if not self.parts:
            return {}
        return {"first": procfs.cpu_seconds(self.pid)} | {
            part.name: procfs.cpu_seconds(part.pid) for part in self.parts
        }

    def resident_kib(self) -> int:
        """Return the resident memory of what holds connections; 0 when it cannot be measured."""
        return sum(procfs.resident_kib(pid) for pid in self._pids(only_nodes=True))

    def memory(self) -> procfs.Memory:
        """Return the exact memory of what holds connections; 0 when it cannot be measured."""
        found = [procfs.memory(pid) for pid in self._pids(only_nodes=True)]
        return procfs.Memory(sum(one.rss_kib for one in found), sum(one.pss_kib for one in found))

    def _pids(self, *, only_nodes: bool = False) -> list[int]:
        first = [self.pid] if self.pid else []
        return first + [part.pid for part in self.parts if part.is_node or not only_nodes]


@contextlib.contextmanager
def chatd(
    name: str, dialect: Chatd, core: int | None, config: Path, population: Population, database: Database | None = None
) -> Iterator[Server]:
    """Run chatd in a directory of its own, on a port of its own, with these accounts; without a database, on SQLite."""
    with tempfile.TemporaryDirectory(prefix="chatd-bench-") as var:
        if population.users:
            populate(sqlite_under(Path(var)) if database is None else database.open_store, population)
        process, address = start_chatd(Path(var), core, config, {} if database is None else database.environment)
        try:
            secret = load_secret(Path(var, SECRET_FILE))
            warming = None if database is None else database.warming
            yield Server(name, __version__, dialect, address, process.pid, secret, warming=warming)
        finally:
            stop(process)


def start_chatd(
    var: Path, core: int | None, config: Path, more: Mapping[str, str] | None = None, options: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], tuple[str, int]]:
    """Start chatd on any free port, with further options of `chatd serve`; return when it told its address.

    Raises:
        ServerFailed: It ended, or told nothing in time. The text has the end of what it wrote.
    """
    environment = os.environ | {
        "CHATD_SERVER__HOST": "127.0.0.1",
        "CHATD_SERVER__PORT": "0",
        "CHATD_SERVER__VAR": json.dumps(str(var)),
        **(more or {}),
    }
    command = [sys.executable, "-m", "chatd", "serve", "--config", str(config), *options]
    with children_on(core), (var / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return process, _wait_for_address(process, var / "output")


def _wait_for_address(process: subprocess.Popen[bytes], output: Path) -> tuple[str, int]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        match = _ADDRESS.search(text)
        if match:
            return match[1] or match[3], int(match[2] or match[4])
        if process.poll() is not None:
            break
        time.sleep(0.02)
    stop(process)
    raise ServerFailed(f"chatd did not start:\n{output.read_text(errors='replace')[-2000:]}")


def load_secret(path: Path) -> bytes:
    """Return the secret with which a chatd signs, made by it on its first start.

    Raises:
        ServerFailed: It is not there.
    """
    if not path.exists():
        raise ServerFailed(f"{path}: no such file")
    return load_or_create(path)


@contextlib.contextmanager
def centrifugo(binary: str, dialect: Centrifugo, core: int | None) -> Iterator[Server]:
    """Run Centrifugo as the peer: no log, no history, publishing by clients allowed, one CPU."""
    with start_centrifugo(binary, centrifugo_config(dialect), core) as (process, address):
        yield Server("centrifugo", version_of(binary), dialect, address, process.pid)


def centrifugo_config(dialect: Centrifugo) -> dict[str, Any]:
    """Return what the peer is told, but for its port."""
    return {
        "client": {"insecure": True, "channel_limit": 128},
        "channel": {"without_namespace": {"allow_publish_for_client": True, "allow_subscribe_for_client": True}},
        "websocket": {"compression": dialect.compress},
        "log": {"level": "error"},
    }


@contextlib.contextmanager
def start_centrifugo(
    binary: str, config: Mapping[str, Any], core: int | None
) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    """Run a Centrifugo on one CPU and any free port."""
    port = free_port()
    config = {**config, "http_server": {"address": "127.0.0.1", "port": str(port)}}
    with tempfile.TemporaryDirectory(prefix="chatd-bench-") as directory:
        path = Path(directory, "centrifugo.json")
        path.write_text(json.dumps(config))
        with children_on(core), Path(directory, "output").open("wb") as output:
            process = subprocess.Popen(
                [binary, "-c", str(path)], env=os.environ | {"GOMAXPROCS": "1"}, stdout=output, stderr=output
            )
        try:
            wait_for_port(process, port)
            yield process, ("127.0.0.1", port)
        finally:
            stop(process)


def version_of(binary: str) -> str:
    """Return what the peer says it is."""
    answer = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=10, check=False)
    return answer.stdout.strip()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when a process that was started here listens.

    Raises:
        ServerFailed: It ended, or does not in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise ServerFailed(f"{process.args!r} did not start")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here: politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # chatd drains for a while on SIGTERM, not on this
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
