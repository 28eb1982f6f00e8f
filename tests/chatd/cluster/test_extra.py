"""What many nodes need is an extra: a node alone starts without it, and who asks for it is told what is missing."""

import subprocess
import sys
from pathlib import Path

from tests.system.process import ROOT, environment

_WITHOUT = "import sys; sys.modules.update(coredis=None, hiredis=None); "


def run_without(code: str, folder: Path, settings: dict[str, object] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT + code],
        cwd=folder,
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_node_alone_needs_no_packages_for_redis(tmp_path: Path) -> None:
    done = run_without("import chatd.server, chatd.commands.serve", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_wants_redis_without_its_packages_is_told_what_is_missing(tmp_path: Path) -> None:
    code = "from chatd.cli import main; main(['serve'])"
    done = run_without(code, tmp_path, {"broker.kind": "redis", "server.port": 0})
    assert done.returncode == 2, done.stderr
    assert "pip install 'chatd[redis]'" in done.stderr
    assert (ROOT / "pyproject.toml").read_text().count("\nredis = [") == 1
