"""A real `chatd serve` in a process of its own, on a free port of loopback, with all it writes in one directory."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 30.0


class NodeProcess:
    """Starts and ends one node; its data and its log stay in `directory`. `settings` are keys such as `auth.guests`."""

    def __init__(self, directory: Path, settings: dict[str, object] | None = None) -> None:
        self._directory = directory
        self._settings = settings or {}
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

    def start(self) -> "NodeProcess":
        """Start it, on the port that it had before, and return when it serves."""
        settings = {"server.port": self.port, "server.var": self._directory / "var"} | self._settings
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATD_")}
        for key, value in settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            environment["CHATD_" + key.upper().replace(".", "__")] = text
        environment["PYTHONPATH"] = str(ROOT)
        with (self._directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chatd", "serve"],
                cwd=self._directory,  # no config.toml here: the defaults
                env=environment,
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

    def signal_stop(self) -> None:
        """Ask it to end, and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

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
            raise RuntimeError(f"the node did not start:\n{(self._directory / 'log').read_text()}")
        return port
