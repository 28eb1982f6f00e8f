"""Real Redis servers, each on a free port of loopback with all it writes in one directory.

What a server is asked to do here blocks until it is done: milliseconds, but for `stop` and `restart` with much data.
"""

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.rig.ports import free_port

PACKAGES = {"redis-server": "redis-server"}
START_SECONDS = 20.0
STOP_SECONDS = 20.0
ANSWER_SECONDS = 5.0
NO_RETRY = Retry(NoBackoff(), 0)
SLOTS = 16_384  # of every Redis Cluster

# The server of a whole run ends with it, however it ends: Linux kills it when the thread that started it is no more.
TIED = ("setpriv", "--pdeathsig", "KILL")


class RedisServer:
    """Starts and ends one redis-server; its port and its files stay the same over a restart."""

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        appendonly: bool = False,
        password: str = "",
        certificate: tuple[Path, Path] | None = None,
        cluster: bool = False,
        directives: Mapping[str, str] | None = None,
        launcher: tuple[str, ...] = (),
    ) -> None:
        """Prepare a server.

        Args:
            directory: Where it writes. It must exist.
            appendonly: Whether each write is synced to a file before it is answered, so that data outlives `kill`.
            password: What clients must say, if anything.
            certificate: The paths of a certificate and its key: then it speaks TLS and nothing else.
            cluster: Whether it can be joined with others by CLUSTER commands.
            directives: More lines of redis.conf, such as {"maxmemory": "10mb"}.
            launcher: A command that runs the server's.
        """
        self.directory = directory
        self.password = password
        self.certificate = certificate
        self.port = 0
        self.bus_port = 0
        self._cluster = cluster
        self._launcher = launcher
        self._directives = {
            "bind": self.host,
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        } | dict(directives or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        scheme = "rediss" if self.certificate else "redis"
        password = f":{self.password}@" if self.password else ""
        return f"{scheme}://{password}{self.host}:{self.port}/0"

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def log(self) -> str:
        """All that it logged."""
        return (self.directory / "redis.log").read_text(errors="replace")

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Open a connection to look into it; answers are text."""
        options: dict[str, object] = {
            "password": self.password or None,
            "decode_responses": True,
            "socket_timeout": ANSWER_SECONDS,
            "retry": NO_RETRY,
        }
        if self.certificate:
            options |= {"ssl": True, "ssl_ca_certs": str(self.certificate[0])}
        with redis.Redis(self.host, self.port, **options) as connection:  # type: ignore[arg-type]
            yield connection

    # Its life.

    def start(self) -> "RedisServer":
        """Start it, on the port that it had before, and return when it answers."""
        assert self._process is None, "the server runs already"
        self.port = self.port or free_port(self.host)
        self.bus_port = self.bus_port or (free_port(self.host) if self._cluster else 0)
        (self.directory / "redis.conf").write_text(self._configuration())
        with (self.directory / "redis.log").open("a") as log:
            self._process = subprocess.Popen(
                [*self._launcher, "redis-server", str(self.directory / "redis.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers(self._process)
        return self

    def flush(self) -> None:
        """Forget all data and scripts, and what clients had subscribed by closing their connections."""
        with self.client() as client:
            client.flushall()
            client.script_flush()
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def pause(self) -> None:
        """Let it stand still (SIGSTOP): connections stay, and nothing is answered until `resume`."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it did; no harm if it is paused or does not run."""
        if self._process is not None:
            self._send(signal.SIGCONT)
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        """End it properly and start it again: without `appendonly` it comes back empty."""
        self.stop()
        self.start()

    def _configuration(self) -> str:
        directives = dict(self._directives)
        if self.certificate:
            certificate, key = self.certificate
            directives |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cert-file": str(certificate),
                "tls-key-file": str(key),
                "tls-ca-cert-file": str(certificate),
                "tls-auth-clients": "no",
            }
        else:
            directives["port"] = str(self.port)
        if self.password:
            directives["requirepass"] = self.password
        if self._cluster:
            directives |= {
                "cluster-enabled": "yes",
                "cluster-port": str(self.bus_port),
                "cluster-node-timeout": "2000",
            }
        return "".join(f'{name} "{value}"\n' for name, value in directives.items())

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:  # not there yet, or still loading its data
                time.sleep(0.01)
        self._end(signal.SIGKILL)
        raise RuntimeError(f"redis-server did not start:\n{self.log}")

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        self._process.send_signal(number)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


class RedisCluster:
    """A Redis Cluster of three masters without replicas, which share the slots evenly."""

    def __init__(self, directory: Path, nodes: int = 3, directives: Mapping[str, str] | None = None) -> None:
        """Prepare a cluster; each node writes to a directory of its own in this one."""
        self.nodes: list[RedisServer] = []
        for number in range(nodes):
            folder = directory / f"redis{number}"
            folder.mkdir(parents=True)
            self.nodes.append(RedisServer(folder, cluster=True, directives=directives))

    @property
    def addresses(self) -> list[str]:
        """The host and port of each node."""
        return [node.address for node in self.nodes]

    def start(self) -> "RedisCluster":
        """Start all nodes, join them, and return when each of them serves."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            first, end = (SLOTS * edge // len(self.nodes) for edge in (number, number + 1))
            with node.client() as client:
                client.cluster("SET-CONFIG-EPOCH", number + 1)
                client.cluster("ADDSLOTSRANGE", first, end - 1)
                for other in self.nodes[:number]:
                    client.cluster("MEET", other.host, other.port, other.bus_port)
        self.wait_until_whole()
        return self

    def wait_until_whole(self) -> None:
        """Return when every node knows every other and all slots are served."""
        deadline = time.monotonic() + START_SECONDS
        while not all(self._is_whole(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not come together:\n{self.nodes[0].log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End all nodes that run."""
        for node in self.nodes:
            node.stop()

    def _is_whole(self, node: RedisServer) -> bool:
        with node.client() as client:
            info: dict[str, str] = client.cluster("INFO")
        return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(len(self.nodes)))
