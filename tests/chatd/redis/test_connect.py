"""What a node loads to speak to a Redis."""

import subprocess
import sys

from tests.system.process import ROOT


def test_a_node_that_is_told_its_servers_does_not_load_the_client_of_all_commands() -> None:
    code = "import sys, chatd.server, chatd.redis.servers; print('coredis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
