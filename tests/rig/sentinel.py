"""A real Redis Sentinel that watches one server, on a free port of loopback."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.rig.ports import free_port
from tests.rig.redis import NO_RETRY, START_SECONDS, STOP_SECONDS, TIED, RedisServer

NAME = "chatd"


@contextmanager
def running_sentinel(directory: Path, server: RedisServer) -> Iterator[str]:
    """Run a Sentinel that calls a server NAME; give its HOST:PORT, when it knows the server."""
    port = free_port(server.host)
    (directory / "sentinel.conf").write_text(
        f"port {port}\nbind {server.host}\ndir {directory}\n"
        f"sentinel monitor {NAME} {server.host} {server.port} 1\n"
        f"sentinel down-after-milliseconds {NAME} 1000\n"
    )
    with (directory / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(
            [*TIED, "redis-server", str(directory / "sentinel.conf"), "--sentinel"], stdout=log, stderr=log
        )
    try:
        _wait_until_it_knows(server.host, port)
        yield f"{server.host}:{port}"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_until_it_knows(host: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with redis.Redis(host, port, retry=NO_RETRY) as client:
                if client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME):
                    return
        except redis.RedisError:
            pass
        time.sleep(0.01)
    raise RuntimeError("the sentinel did not start")
