"""A running node is asked everything that its own OpenAPI allows, and much that it does not.

No answer may be a fault (5xx), and each must be one that the description knows: its status, content type and shape.
`make fuzz` asks more of it: FUZZ_EXAMPLES is how many requests are made up for each operation.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import StartNode
from tests.system.process import chatd

pytestmark = pytest.mark.system

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "2")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
PATIENCE_SECONDS = 60 + 10 * int(EXAMPLES) * 60
RATES = {"limits.http_requests_per_second": 100_000.0, "limits.http_requests_burst": 100_000}
WORKING = {
    **RATES,
    "limits.user_requests_per_second": 100_000.0,
    "limits.user_requests_burst": 100_000,
    "backend.requests_per_second": 100_000.0,
    "backend.requests_burst": 100_000,
    "auth.hash_memory_kib": 8,
    "auth.login_failures": 100_000,
}


@pytest.mark.parametrize("side", ["server", "user"])
def test_no_request_is_answered_with_a_fault_or_with_what_is_not_described(
    start_node: StartNode, tmp_path: Path, side: str
) -> None:
    node = start_node(WORKING)
    if side == "server":
        settings: dict[str, object] = {"server.var": node.directory / "var"}
        token = chatd(node.directory, "key", "create", "fuzz", "--action", "*", settings=settings).stdout.strip()
        which = ["--include-path-regex", "^/v1/server/"]
    else:
        token = node.token("alice")
        # Logging out would make every request after it the same.
        which = ["--exclude-path-regex", "^/v1/server/|^/v1/auth/logout|^/v1/devices/"]
    found = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "run", f"{node.http_url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--max-examples", EXAMPLES, "--checks", CHECKS),
            *("--phases", "coverage,fuzzing", "--generation-deterministic", "--seed", "1", "--no-color", *which),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Unresolvable references" not in found.stdout
