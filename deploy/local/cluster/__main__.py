"""`python -m deploy.local.cluster`: three nodes of chatd behind one address of this machine, with what they share.

It starts Redis and one node of Cassandra on ports of their own, then `chatd serve --workers 3`, and ends all of it with
Ctrl-C. The nodes are workers: kill one (its pid is in the log) and watch the others take over.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local.cassandra.cluster import LocalCluster
from deploy.local.cassandra.errors import LocalCassandraError

_ROOT = Path(__file__).parent.parent.parent.parent
_REDIS_PORT = 16379
_START_SECONDS = 10.0


class Failed(Exception):
    """Something cannot be started here; the text says what."""


def main() -> None:
    """Run until Ctrl-C or SIGTERM; exit code 1 and a line when something cannot be started."""
    arguments = _parser().parse_args()
    directory: Path = arguments.directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            stack.enter_context(_redis(directory / "redis", arguments.redis_port))
            addresses = arguments.cassandra or stack.enter_context(_cassandra(directory / "cassandra"))
            command = [sys.executable, "-m", "chatd", "serve", "--workers", str(arguments.nodes)]
            environment = os.environ | _settings(arguments, directory, addresses)
            chatd = stack.enter_context(_process(command, environment))
            sys.exit(chatd.wait())
    except KeyboardInterrupt:
        _say("all of it has ended")
    except (Failed, LocalCassandraError) as error:
        sys.exit(f"cluster: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.cluster", description="A cluster on loopback.")
    parser.add_argument("--nodes", type=int, default=3, help="how many; each is a process")
    parser.add_argument("--port", type=int, default=8000, help="where clients connect")
    parser.add_argument("--redis-port", type=int, default=_REDIS_PORT, help="where Redis listens")
    parser.add_argument("--cassandra", nargs="*", metavar="ADDRESS", help="use one that runs, and start none")
    parser.add_argument("--directory", type=Path, default=_ROOT / "var" / "cluster", help="where everything is written")
    return parser


def _settings(arguments: argparse.Namespace, directory: Path, cassandra: list[str]) -> dict[str, str]:
    """Return what makes these nodes a cluster; the rest is as configured or shipped."""
    return {
        "CHATD_SERVER__PORT": str(arguments.port),
        "CHATD_SERVER__VAR": str(directory / "var"),
        "CHATD_BROKER__KIND": "redis",
        "CHATD_REDIS__SERVERS": json.dumps([f"127.0.0.1:{arguments.redis_port}"]),
        "CHATD_STORE__KIND": "cassandra",
        "CHATD_CASSANDRA__NODES": json.dumps(cassandra),
        "CHATD_CASSANDRA__REPLICATION_FACTOR": "1",
    }


@contextmanager
def _redis(directory: Path, port: int) -> Iterator[None]:
    """Run a Redis that keeps what it is told, while the block lasts."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed("redis-server is not here: apt-get install redis-server")
    directory.mkdir(exist_ok=True)
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": directory,
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": directory / "redis.log",
    }
    with _process([program, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]) as redis:
        _wait_for_port(port, redis, directory / "redis.log")
        _say(f"Redis on 127.0.0.1:{port}")
        yield


@contextmanager
def _cassandra(directory: Path) -> Iterator[list[str]]:
    """Run a Cassandra of one node while the block lasts; give its address."""
    cluster = LocalCluster(directory)
    _say("starting Cassandra …")
    try:
        cluster.start()
        _say(f"Cassandra on {', '.join(cluster.addresses)}")
        yield cluster.addresses
    finally:
        cluster.stop()


@contextmanager
def _process(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block lasts; Ctrl-C reaches it through this program only."""
    process = subprocess.Popen(command, cwd=_ROOT, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"Redis does not start on port {port}; {log} says why")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
