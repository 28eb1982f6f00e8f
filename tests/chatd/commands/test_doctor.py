"""`chatd doctor` prints a line for each thing, and its exit code says whether there is a failure."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatd.commands.doctor import doctor
from tests.rig.ports import free_port


def _run(tmp_path: Path, config: str) -> Result:
    path = tmp_path / "config.toml"
    path.write_text(config)
    return CliRunner().invoke(doctor, ["--config", str(path)])


def test_a_machine_that_can_serve_gets_exit_code_0(tmp_path: Path) -> None:
    result = _run(tmp_path, f"[server]\nvar = '{tmp_path}/var'\nport = {free_port()}\n")
    assert result.exit_code == 0, result.output
    assert f"ok       var: {tmp_path}/var is not there, and will be made" in result.output.splitlines()


def test_a_failure_gets_exit_code_1_and_advice(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    result = _run(tmp_path, f"[server]\nvar = '{tmp_path}/var'\nport = {free_port()}\n")
    assert result.exit_code == 1
    assert f"failure  var: {tmp_path}/var is no folder — set server.var" in result.output.splitlines()


def test_a_configuration_that_cannot_be_used_gets_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _run(tmp_path, "[server]\nprot = 1\n")
    assert result.exit_code == 2
    assert "server.prot" in result.output
