"""A real `chatd` in a process of its own, on a free port of loopback, with all it writes in one directory."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from chatd.accounts.tokens import Tokens
from chatd.config import Auth
from chatd.secret import load_or_create
from protocol.names import DeviceId, UserId

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 30.0

_FAULT = re.compile(r" (error|critical) |\"level\":\"(error|critical)\"|Traceback|^ {4}\| ")

_T = TypeVar("_T")

Settings = dict[str, object]
"""Keys of the configuration such as `auth.guests`, with their values."""


def chatd(directory: Path, *arguments: str, settings: Settings | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command of chatd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "chatd", *arguments],
        cwd=directory,
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables of a process with these settings and no others."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CHATD_")}
    for key, value in settings.items():
        text = value if isinstance(value, str) else str(value) if isinstance(value, Path) else json.dumps(value)
        variables["CHATD_" + key.upper().replace(".", "__")] = text
    variables["PYTHONPATH"] = str(ROOT)
    return variables


class NodeProcess:
    """Starts and ends one node; its data and its log stay in `directory`, where a config.toml counts."""

    def __init__(self, directory: Path, settings: Settings | None = None, arguments: Sequence[str] = ()) -> None:
        self.directory = directory
        self._arguments = arguments  # of `chatd serve`
        self.settings = settings or {}
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def http_url(self) -> str:
        """Where it answers HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> "NodeProcess":
        """Start it, on the port that it had before, and return when it serves."""
        settings = {"server.port": self.port, "server.var": self.directory / "var"} | self.settings
        with (self.directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chatd", "serve", *self._arguments],
                cwd=self.directory,
                env=environment(settings),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.port = self._read_port(self._process)
        return self

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it did; no harm if it is not running."""
        self._end(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it ended; return its exit code."""
        process, self._process = self._process, None
        assert process is not None
        with process:
            try:
                return process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    # What it shows.

    @property
    def log(self) -> str:
        """All that it wrote to standard error."""
        return (self.directory / "log").read_text()

    def wait_for_log(self, pattern: str) -> str:
        """Return what the pattern finds in the log, as soon as it does."""
        found = _wait_for(lambda: re.search(pattern, self.log))
        assert found, f"no {pattern!r} in:\n{self.log}"
        return found[0]

    def faults(self) -> list[str]:
        """Return the lines of the log that should not be there: errors, and tracebacks."""
        return [line for line in self.log.splitlines() if _FAULT.search(line)]

    def descriptors(self) -> list[str]:
        """Return what it has open: files by their paths, sockets as `socket:[…]`."""
        folder = f"/proc/{self.pid}/fd"
        found = []
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(os.readlink(f"{folder}/{name}"))
        return found

    def sockets(self) -> int:
        """Return how many sockets it has open."""
        return sum(name.startswith("socket:") for name in self.descriptors())

    def wait_for_sockets(self, most: int) -> None:
        """Wait until it has no more sockets open than this."""
        assert _wait_for(lambda: self.sockets() <= most), f"{self.sockets()} are open, {most} before"

    def token(self, user: str, *, guest: bool = False, device: str = "") -> str:
        """Sign a token with its secret, as `chatd token` does."""
        tokens = Tokens(load_or_create(self.directory / "var" / "secret"), Auth(), time.time)
        return tokens.issue(UserId(user), DeviceId(device or f"{user}-phone"), is_guest=guest, seconds=900)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self.wait()

    def _read_port(self, process: subprocess.Popen[str]) -> int:
        assert process.stdout is not None
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        port = urlsplit(line.split()[-1]).port if line else None
        if port is None:
            self.kill()
            raise RuntimeError(f"the node did not start:\n{self.log}")
        return port


def _wait_for(look: Callable[[], _T]) -> _T:
    """Look until there is something, or for too long; return what was seen last."""
    deadline = time.monotonic() + STOP_SECONDS
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return seen


def numbers(metrics: str) -> dict[str, float]:
    """Return the values in the text of /metrics, by name and labels."""
    values: dict[str, float] = {}
    for line in metrics.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    return values
