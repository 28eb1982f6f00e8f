"""The command line: help for a person, exit codes for a script, and a configuration that survives being shown."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from chatd import __version__
from chatd.cli import main
from chatd.commands.config import as_toml
from chatd.config import Config, load
from tests.rig.node import changed


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, arguments, env=variables, prog_name="chatd")


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """Return the words of every command."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *path, name)


@pytest.mark.parametrize("words", list(commands(main)), ids=" ".join)
def test_every_command_says_what_it_does(words: tuple[str, ...]) -> None:
    shown = run(*words, "--help")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(" ".join(("Usage: chatd", *words)))
    assert re.fullmatch(r"  \S.*", lines[2])
    assert all(len(line) <= 80 for line in lines)


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"chatd, version {__version__}\n"


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        ("cluster status", 1, "is missing: pip install 'chatd[redis]'"),
        ("db status", 1, "is missing: pip install 'chatd[cassandra]'"),
        ("doctor", 1, "failure  redis: "),
        ("doctor", 1, "is missing — pip install 'chatd[cassandra]'"),
        ("serve", 2, "is missing: pip install 'chatd["),
    ],
)
def test_without_the_extras_it_is_said_which_one_is_missing(words: str, exit_code: int, said: str) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['hiredis', 'coredis', 'redis', 'cassandra']))"
    program = [sys.executable, "-c", f"{hidden}; from chatd.cli import main; main({words.split()!r})"]
    kinds = {"CHATD_BROKER__KIND": "redis", "CHATD_STORE__KIND": "cassandra", "CHATD_SERVER__PORT": "0"}
    run = subprocess.run(program, capture_output=True, text=True, env=os.environ | kinds, check=False)
    assert (run.returncode, said in run.stdout + run.stderr) == (exit_code, True), run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_ctrl_c_while_a_command_waits_is_no_fault_and_hides_none(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[BaseException] = []

    def end(*_: object) -> None:
        raise BaseExceptionGroup("of a nursery", [BaseExceptionGroup("inside", [KeyboardInterrupt()]), *faults])

    monkeypatch.setattr("trio.run", end)
    ended = run("serve")
    assert (ended.exit_code, "Aborted!" in ended.output) == (1, True)
    faults.append(ValueError("a fault"))
    with pytest.RaisesGroup(ValueError, pytest.RaisesGroup(KeyboardInterrupt)):
        run("serve")


@pytest.mark.parametrize("words", [["nonsense"], ["serve", "--nonsense"], ["config", "nonsense"], ["token"]])
def test_what_is_no_command_is_exit_code_2(words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_a_good_configuration_is_called_good() -> None:
    checked = run("config", "check")
    assert (checked.exit_code, checked.stdout) == (0, "the configuration is good\n")


@pytest.mark.parametrize("words", [["config", "check"], ["config", "show"], ["serve"], ["token", "alice"]])
def test_a_bad_configuration_is_one_line_and_exit_code_2(words: list[str]) -> None:
    refused = run(*words, CHATD_SERVER__PORT="70000")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert re.fullmatch(r"chatd: server\.port: .+\n", refused.stderr)


def test_a_missing_file_is_named() -> None:
    refused = run("config", "check", "--config", "missing.toml")
    assert (refused.exit_code, refused.stderr) == (2, "chatd: missing.toml: No such file or directory\n")


def test_the_file_in_the_folder_counts_unless_another_is_named(tmp_path: Path) -> None:
    Path("config.toml").write_text("[server]\nport = 1\n")
    Path("other.toml").write_text("[server]\nport = 2\n")
    assert run("config", "show", "--changed").stdout == "[server]\nport = 1\n\n"
    assert run("config", "show", "--changed", "--config", "other.toml").stdout == "[server]\nport = 2\n\n"
    assert run("config", "show", "--changed", CHATD_SERVER__PORT="3").stdout == "[server]\nport = 3\n\n"


def test_nothing_changed_is_nothing_shown() -> None:
    assert run("config", "show", "--changed").stdout == ""


def test_what_is_shown_is_a_configuration_with_the_same_content() -> None:
    Path("config.toml").write_text('[namespaces.club]\nread = "anyone"\n[limits]\nhello_seconds = 0.0000001\n')
    shown = run("config", "show").stdout
    Path("shown.toml").write_text(shown)
    assert load(Path("shown.toml"), {}) == load(Path("config.toml"), {})
    assert run("config", "check", "--config", "shown.toml").exit_code == 0


def test_passwords_are_shown_only_on_demand() -> None:
    Path("config.toml").write_text('[redis]\npassword = "opensesame"\nusername = "chatd"\n')
    assert run("config", "show", "--changed").stdout == '[redis]\nusername = "chatd"\npassword = "(hidden)"\n\n'
    assert "opensesame" not in run("config", "show", CHATD_CASSANDRA__PASSWORD="opensesame").stdout
    assert 'password = "opensesame"' in run("config", "show", "--passwords").stdout


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(
    host=_TEXT,
    names=st.lists(_TEXT, max_size=3),
    seconds=st.floats(0, 2**31 - 1, exclude_min=True),
    count=st.integers(1, 2**31 - 1),
    flag=st.booleans(),
)
@settings(max_examples=200, deadline=None)  # machines are busy
def test_every_value_survives_being_shown(host: str, names: list[str], seconds: float, count: int, flag: bool) -> None:
    tree: dict[str, Any] = msgspec.to_builtins(changed("limits", hello_seconds=seconds, fragments=count))
    tree["server"] |= {"host": host, "proxy_protocol": flag}
    tree["hooks"]["connect"] |= {"secret_variables": names}
    config = msgspec.convert(tree, Config)
    shown = Path("shown.toml")
    shown.write_text(as_toml(msgspec.to_builtins(config)), "utf-8", newline="")
    assert load(shown, {}) == config
