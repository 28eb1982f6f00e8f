"""One node of Cassandra: its files, its process, and whether it answers."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.cassandra import cql, jars
from deploy.local.cassandra.errors import LocalCassandraError
from deploy.local.cassandra.java import find_java

START_SECONDS = 180.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05
_SHOWN = 3000  # characters of a log that go with an error

# When a row counts as written. `batch` and `group` answer after the commit log was synced to disk: nothing that was
# acknowledged is lost with the process. `periodic`, the default of Cassandra, syncs every 10 s and answers before.
COMMITLOG_SYNC = {
    "batch": "commitlog_sync: batch",
    "group": "commitlog_sync: group\ncommitlog_sync_group_window: 5ms",
    "periodic": "commitlog_sync: periodic\ncommitlog_sync_period: 10s",
}

# What the second compiler does pays only after half a minute of load: the nodes of tests end before.
_FOR_A_SHORT_RUN = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Rows that wait in memory survive a collection of what is new, and are copied: with the default of a third of the heap
# for it a pause is 20 to 250 ms under load. More often, with less to copy and by two threads, it is 15 to 65 ms.
_FOR_A_LONG_RUN = ("-XX:+UseParallelGC", "-XX:ParallelGCThreads=2", "-XX:-UseAdaptiveSizePolicy", "-Xmn96m")

_HERE = Path(__file__).parent
_FOLDERS = ("data", "commitlog", "hints", "saved_caches", "cdc_raw", "conf", "logs", "tmp")


@dataclass(frozen=True)
class NodeOptions:
    """Where a node is found, and how it runs."""

    address: str = "127.0.0.1"
    port: int = 9042
    storage_port: int = 7000
    """Where the nodes of a cluster speak with each other; the same for all of them."""
    seeds: tuple[str, ...] = ("127.0.0.1",)
    token: int = 0
    """Where its part of the ring begins."""
    commitlog_sync: str = "batch"
    heap: str = "512m"
    optimizes: bool = False
    """Java compiles and collects for a long run: slower for half a minute of load, then faster, with short pauses."""
    request_threads: int = 32
    """How many requests it works on at the same time; those without work wake each other all the same."""
    concurrent_writes: int = 16
    java_options: tuple[str, ...] = ()
    class_path: tuple[str, ...] = ()
    """Folders with more classes than Cassandra's own."""
    launcher: tuple[str, ...] = ()
    """A command that runs Java."""
    more_yaml: str = ""
    """Lines to add to its configuration."""
    authority: str = ""
    """The file of who signed its certificate, if those lines let clients come by TLS only."""


class CassandraNode:
    """Starts and ends one node; all it writes is in `directory`, and it is found there again by a later process."""

    def __init__(self, directory: Path, options: NodeOptions | None = None) -> None:
        self.directory = directory.absolute()
        self.options = options or NodeOptions()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What its directory is called."""
        return self.directory.name

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                return self._process.pid
            self._process = None
        return self._pid_of_another()

    @property
    def log(self) -> str:
        """What it logged, and what Java itself said."""
        files = (self.directory / "logs" / name for name in ("system.log", "console.log"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def answers(self) -> bool:
        """Return whether it serves."""
        return cql.serves(self.options.address, self.options.port, authority=self.options.authority)

    def reaches_all(self) -> bool:
        """Return whether it serves, and all nodes of its cluster (of up to three) do for it."""
        return cql.reaches_all(self.options.address, self.options.port, authority=self.options.authority)

    # Its life.

    def start(self) -> None:
        """Start it and return at once; `wait` says when it serves.

        Raises:
            LocalCassandraError: It runs already, its address is taken, or Java or the jars cannot be had.
        """
        if self.pid is not None:
            raise LocalCassandraError(f"{self.name} runs already (process {self.pid})")
        if self.answers():
            where = f"{self.options.address}:{self.options.port}"
            raise LocalCassandraError(f"another Cassandra answers on {where}: stop it, or use it")
        command = self._command(find_java(), jars.fetch())
        for folder in _FOLDERS:
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        (self.directory / "conf" / "cassandra.yaml").write_text(self._configuration())
        with (self.directory / "logs" / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C in the terminal is not meant for it
            )
        (self.directory / "pid").write_text(f"{self._process.pid}\n")

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Return as soon as it serves CQL.

        Raises:
            LocalCassandraError: It ended, or takes longer than this; then it is killed.
        """
        self._wait_until(self.answers, "did not answer", seconds)

    def wait_for_all(self, seconds: float = START_SECONDS) -> None:
        """Return as soon as all nodes of its cluster serve for it: only then can a schema be made.

        Raises:
            LocalCassandraError: As for `wait`.
        """
        self._wait_until(self.reaches_all, "did not see the other nodes", seconds)

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait until it did; no harm if it does not run."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it stand still until `resume` (SIGSTOP): its connections stay, and nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._send(signal.SIGCONT)

    def _pid_of_another(self) -> int | None:
        """Return the process that an earlier command started, if it runs."""
        try:
            pid = int((self.directory / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        # The number may belong to another process by now; and what was killed may stay a zombie for a while.
        mine = f"-Dcassandra.storagedir={self.directory}\0".encode() in command
        return pid if mine and state != "Z" else None

    def _send(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def _end(self, how: signal.Signals) -> None:
        self._send(how)
        if not self._becomes(lambda: self.pid is None, STOP_SECONDS):
            self._send(signal.SIGKILL)
            self._becomes(lambda: self.pid is None, STOP_SECONDS)
        (self.directory / "pid").unlink(missing_ok=True)

    def _wait_until(self, condition: Callable[[], bool], failure: str, seconds: float) -> None:
        if not self._becomes(lambda: self.pid is None or condition(), seconds):
            end = self.log[-_SHOWN:]
            self.kill()
            raise LocalCassandraError(f"{self.name} {failure} within {seconds:.0f} s:\n{end}")
        if self.pid is None:
            raise LocalCassandraError(f"{self.name} ended while it started:\n{self.log[-_SHOWN:]}")

    def _becomes(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    # What it is started with.

    def _configuration(self) -> str:
        text = (_HERE / "cassandra.yaml").read_text()
        values = {
            "address": self.options.address,
            "port": self.options.port,
            "storage_port": self.options.storage_port,
            "seeds": ",".join(self.options.seeds),
            "token": self.options.token,
            "commitlog_sync": COMMITLOG_SYNC[self.options.commitlog_sync],
            "request_threads": self.options.request_threads,
            "concurrent_writes": self.options.concurrent_writes,
            "directory": self.directory,
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return f"{text}\n{self.options.more_yaml}\n"

    def _command(self, java: str, folder: Path) -> list[str]:
        lines = (_HERE / "jvm.options").read_text().splitlines()
        # jamm measures objects in memory; without it as an agent Cassandra does not start.
        (jamm,) = folder.glob("jamm-*.jar")
        return [
            *self.options.launcher,
            java,
            *(line for line in lines if line.startswith("-")),
            *(_FOR_A_LONG_RUN if self.options.optimizes else _FOR_A_SHORT_RUN),
            f"-Xms{self.options.heap}",
            f"-Xmx{self.options.heap}",
            f"-XX:MaxDirectMemorySize={self.options.heap}",
            f"-javaagent:{jamm}",
            f"-Djava.io.tmpdir={self.directory}/tmp",
            f"-Djna.tmpdir={self.directory}/tmp",
            f"-XX:ErrorFile={self.directory}/logs/hs_err_%p.log",
            f"-Dcassandra.config=file://{self.directory}/conf/cassandra.yaml",
            f"-Dcassandra.storagedir={self.directory}",
            f"-Dcassandra.logdir={self.directory}/logs",
            f"-Dlogback.configurationFile=file://{_HERE}/logback.xml",
            *self.options.java_options,
            "-cp",
            ":".join((*self.options.class_path, f"{folder}/*")),
            "org.apache.cassandra.service.CassandraDaemon",
        ]
