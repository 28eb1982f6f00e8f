"""The page about receiving webhooks is right: its Python and its shell verify what chatd signs."""

import base64
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from chatd.config import EventType
from chatd.hooks.questions import MAY_DENY_WITH
from chatd.webhooks.signing import AsymmetricKey, Signer, parse_key

ROOT = Path(__file__).parent.parent
HOWTO = (ROOT / "docs/howto/receive-webhooks.md").read_text("utf-8")
REFERENCE = (ROOT / "docs/reference/webhooks.md").read_text("utf-8")
SECRET = "whsec_" + base64.b64encode(b"a secret of a page of documents").decode()
KEY = AsymmetricKey(b"s" * 32)
BODY = b'{"type":"batch"}'

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", HOWTO, re.MULTILINE | re.DOTALL)


def functions() -> dict[str, Any]:
    """Return what the page's Python defines."""
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    return names


def headers(*, at: float | None = None) -> dict[str, str]:
    signer = Signer([KEY, parse_key("whsec_" + "b2xk" * 8), parse_key(SECRET)])
    return signer.headers("id1", int(time.time() if at is None else at), BODY)


def test_the_python_of_the_page_verifies_hmac() -> None:
    verify = functions()["verify"]
    assert verify(SECRET, headers(), BODY)
    assert not verify(SECRET, headers(), BODY + b" ")
    assert not verify(SECRET, headers() | {"webhook-id": "id2"}, BODY)
    assert not verify(SECRET, headers(at=time.time() - 400), BODY)
    assert not verify("whsec_" + "bm90" * 8, headers(), BODY)


def test_the_python_of_the_page_verifies_ed25519() -> None:
    verify = functions()["verify_ed25519"]
    assert verify(KEY.public, headers(), BODY)
    assert not verify(KEY.public, headers(), BODY + b" ")
    assert not verify(AsymmetricKey(b"x" * 32).public, headers(), BODY)


@needs_openssl
def test_the_shell_of_the_page_computes_the_signature(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(BODY)
    [script] = [block for block in blocks("sh") if "hexkey" in block]
    given = headers()
    variables = {"SECRET": SECRET, "ID": "id1", "TIMESTAMP": given["webhook-timestamp"]}
    assert run(script, tmp_path, variables) in given["webhook-signature"].split()


@needs_openssl
def test_the_secrets_that_the_page_makes_can_be_used(tmp_path: Path) -> None:
    symmetric, pair = (block for block in blocks("sh") if "hook.secret" in block)
    file = tmp_path / "hook.secret"
    for script in (symmetric, pair):
        public = run(script.replace("/etc/chatd/hook.secret", str(file)), tmp_path, {})
        key = parse_key(file.read_text().strip())
        assert file.stat().st_mode & 0o077 == 0
        if isinstance(key, AsymmetricKey):
            assert key.public == public


def run(script: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a script of the page; return what it prints."""
    shell = ["sh", "-e", "-c", script]
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        shell, cwd=folder, env=path | variables, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_every_event_has_its_section_and_no_other_has() -> None:
    sections = set(re.findall(r"^### `(\S+)`$", REFERENCE, re.MULTILINE))
    assert sections == {*get_args(EventType), "webhook.test"}


def test_the_codes_that_a_hook_may_deny_with_are_listed() -> None:
    [row] = re.findall(r"^\| `code` \|(.*)\|$", REFERENCE, re.MULTILINE)
    listed = {int(number) for number in re.findall(r"\d{3}", row)}
    assert listed == set(MAY_DENY_WITH)
