"""A Redis for servers of several nodes: a process of its own on a free port of loopback, without persistence."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator

from bench.cores import children_on
from bench.servers import ServerFailed, free_port, stop, wait_for_port

_HOST = "127.0.0.1"


@contextlib.contextmanager
def redis_server(core: int | None) -> Iterator[tuple[int, str]]:
    """Run a Redis; give its process and its HOST:PORT.

    Raises:
        ServerFailed: It is not installed, or does not start.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chatd-bench-redis-") as directory:
        command = ["redis-server", "--bind", _HOST, "--port", str(port), "--dir", directory]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        try:
            with children_on(core):
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise ServerFailed("redis-server is not installed: apt-get install redis-server") from error
        try:
            wait_for_port(process, port)
            yield process.pid, f"{_HOST}:{port}"
        finally:
            stop(process)
