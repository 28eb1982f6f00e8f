"""What a result says of where it was measured."""

from pathlib import Path

import pytest

from bench import environment
from bench.servers import CONFIG
from chatd.config import ConfigError, Limits


def test_the_machine_and_the_versions_are_named() -> None:
    assert {"cpu", "cores", "kernel", "memory_gib"} <= environment.machine().keys()
    assert {"python", "sqlite", "trio", "msgspec"} <= environment.versions().keys()


def test_a_place_without_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert environment._commit(tmp_path) == ""


def test_only_what_differs_from_the_shipped_configuration_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    limits = f"[limits]\nfragments = 3\nconnections = {Limits().connections}\n"
    path.write_text(f'{limits}[namespaces.chess]\nhistory = "none"\n')
    changes = environment.config_changes(path)
    assert changes["limits.fragments"] == 3
    assert "limits.connections" not in changes
    assert changes["namespaces.chess.history"] == "none"


def test_the_bench_itself_changes_limits_and_rates_of_backends_only() -> None:
    assert {key.partition(".")[0] for key in environment.config_changes(CONFIG)} == {"limits", "backend"}


def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[limits]\nfragment = 3\n")
    with pytest.raises(ConfigError):
        environment.config_changes(path)
