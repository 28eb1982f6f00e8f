"""The command line, as far as it goes without a server."""

import sys
from pathlib import Path

import pytest

from deploy.local.cassandra.__main__ import main


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command; return what it exits with, None for a good end."""
    monkeypatch.setattr(sys, "argv", ["cassandra", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code
    return None


def test_no_node_is_told_and_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "status", "--directory", str(tmp_path)) == 1
    assert "there is no node" in capsys.readouterr().out


def test_a_node_that_is_down_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "of-1" / "n1").mkdir(parents=True)
    assert _run(monkeypatch, "status", "--directory", str(tmp_path)) == 1
    assert capsys.readouterr().out.startswith("n1  127.0.0.1:9042  down  ")


def test_stopping_what_is_not_there_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _run(monkeypatch, "stop", "n2", "--directory", str(tmp_path)) == "cassandra: there is no node n2"
    assert _run(monkeypatch, "stop", "--directory", str(tmp_path)) is None


def test_wiping_removes_the_nodes_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "of-3" / "n1" / "data").mkdir(parents=True)
    (tmp_path / "mine").touch()
    assert _run(monkeypatch, "wipe", "--directory", str(tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
