"""A real chatd in a process of its own, which can be killed and started again at the same address."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

START_SECONDS = 30.0
STOP_SECONDS = 30.0

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Node:
    """One `chatd serve` over a directory of its own. Start it, and stop it when done."""

    def __init__(self, var: Path, settings: dict[str, str]) -> None:
        self._var = var
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Start it and return when it has told its address."""
        environment = os.environ | {
            "CHATD_SERVER__VAR": str(self._var),
            "CHATD_SERVER__PORT": str(self._port),
            **self._settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chatd", "serve"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, lines), daemon=True).start()
        said: list[str] = []
        while not said or not (address := _ADDRESS.search(said[-1])):
            said.append(lines.get(timeout=START_SECONDS))
            assert said[-1], f"chatd ended before it told its address:\n{''.join(said)}"
        self._port = int(address[1])

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._process = None
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def _pass_on(stream: IO[str], lines: "queue.Queue[str]") -> None:
    """Read to the end, so that the process never waits for a reader; then say so by an empty line."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")
