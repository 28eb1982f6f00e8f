"""A supervisor is small: it loads nothing of what its workers serve with."""

import subprocess
import sys

from tests.system.process import ROOT

HEAVY = ("chatd.server", "chatd.node", "quart", "coredis", "cassandra", "cryptography")


def test_a_supervisor_does_not_load_the_server() -> None:
    code = f"import sys, chatd.commands.serve; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
