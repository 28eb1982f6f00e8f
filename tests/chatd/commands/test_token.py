"""`chatd token` makes tokens that the node accepts, and says in one line why it cannot."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatd.accounts.principal import Principal
from chatd.accounts.tokens import Tokens
from chatd.commands.token import token
from chatd.config import Auth
from chatd.secret import load_or_create


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


def _run(var: Path, *arguments: str) -> Result:
    config = var.parent / "config.toml"
    config.write_text(f"[server]\nvar = '{var}'\n")
    return CliRunner().invoke(token, [*arguments, "--config", str(config)])


async def _read(var: Path, result: Result) -> Principal:
    assert result.exit_code == 0, result.output
    return await Tokens(load_or_create(var / "secret"), Auth(), time.time).verify(result.stdout.strip())


async def test_the_node_accepts_what_is_printed(var: Path) -> None:
    principal = await _read(var, _run(var, "alice"))
    assert (principal.user, principal.device, principal.is_guest) == ("alice", "developer", False)


async def test_guest_device_and_time_can_be_chosen(var: Path) -> None:
    principal = await _read(var, _run(var, "x1", "--guest", "--device", "phone", "--seconds", "1000000"))
    assert (principal.user, principal.device, principal.is_guest) == ("guest-x1", "phone", True)
    assert principal.expires_at is not None
    assert principal.expires_at > time.time() + 999_000


@pytest.mark.parametrize("arguments", [["a b"], [""], ["alice", "--device", "a\nb"], ["alice", "--seconds", "0"], []])
def test_a_senseless_request_is_refused(var: Path, arguments: list[str]) -> None:
    result = _run(var, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_secret_that_others_can_read_is_not_used(var: Path) -> None:
    load_or_create(var / "secret")
    (var / "secret").chmod(0o644)
    result = _run(var, "alice")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "others may read the secret" in result.stderr
