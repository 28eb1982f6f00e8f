"""The command line: every scenario has help, remote targets are refused, figures land in files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.servers import CONFIG
from chatd.config import Config, load

COMMANDS = ["fanout", "echo", "dm", "idle", "connect", "slow", "catchup", "kill", "compare", "aims", "micro"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    answer = CliRunner().invoke(bench, [command, "--help"])
    assert answer.exit_code == 0
    assert "Usage" in answer.output


def test_a_remote_target_is_refused() -> None:
    answer = CliRunner().invoke(bench, ["fanout", "--address", "192.0.2.1:80"])
    assert answer.exit_code == 1
    assert "--allow-remote" in answer.output


def test_an_unknown_peer_is_refused() -> None:
    answer = CliRunner().invoke(bench, ["fanout", "--peer", "other=/bin/true"])
    assert answer.exit_code == 1
    assert "centrifugo=" in answer.output


def test_what_only_chatd_has_is_not_asked_of_a_peer() -> None:
    assert CliRunner().invoke(bench, ["dm", "--peer", "centrifugo=x"]).exit_code == 2


def test_the_configuration_is_as_shipped_but_for_limits() -> None:
    config, shipped = load(CONFIG, {}), Config()
    assert {name for name in Config.__struct_fields__ if getattr(config, name) != getattr(shipped, name)} == {"limits"}
    assert config.limits.outbox_bytes == shipped.limits.outbox_bytes


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments",
    [
        ["fanout", "--clients", "20", "--rate", "50", "--seconds", "0.5"],
        ["fanout", "--clients", "20", "--in-flight", "4", "--seconds", "0.5"],
        ["dm", "--clients", "5", "--seconds", "0.5"],
        ["connect", "--clients", "20", "--storm"],
        ["catchup", "--clients", "10", "--missed", "30"],
    ],
)
def test_a_short_run_finds_every_delivery_right(arguments: list[str], tmp_path: Path) -> None:
    answer = CliRunner().invoke(bench, [*arguments, "--results", str(tmp_path), "--no-page"])
    assert answer.exit_code == 0, answer.output
    [path] = tmp_path.glob("*.json")
    [found] = json.loads(path.read_text())["rounds"]
    assert not any(found["checks"].values())
    assert found["figures"]


@pytest.mark.system
def test_a_short_kill_test_loses_nothing() -> None:
    answer = CliRunner().invoke(bench, ["kill", "--rounds", "2", "--clients", "5", "--longest-seconds", "0.2"])
    assert answer.exit_code == 0, answer.output
    assert "None lost" in answer.output
