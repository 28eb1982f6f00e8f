"""Secrets come from files that nobody else reads, and from variables."""

from pathlib import Path

import pytest

from chatd.config import ConfigError
from chatd.webhooks.secrets import load_keys, load_signer

ONE, TWO = "whsec_" + "b25l" * 10, "whsec_" + "dHdv" * 10


def write(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "secret"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def error_of(files: list[str], variables: list[str] = [], environment: dict[str, str] = {}) -> str:  # noqa: B006
    with pytest.raises(ConfigError) as caught:
        load_keys("hooks.send", files, variables, environment)
    return str(caught.value)


def test_a_file_has_one_secret_a_line(tmp_path: Path) -> None:
    name = write(tmp_path, f"# the new one first\n{ONE}\n\n{TWO}\n")
    assert len(load_keys("p", [name], [], {})) == 2


def test_files_and_variables_are_used_together(tmp_path: Path) -> None:
    signer = load_signer("p", [write(tmp_path, ONE)], ["HOOK_SECRET"], {"HOOK_SECRET": TWO})
    assert signer.headers("i", 1, b"")["webhook-signature"].count("v1,") == 2


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    assert "chmod 600" in error_of([write(tmp_path, ONE, 0o640)])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert error_of([str(tmp_path / "none")]).startswith("hooks.send.secret_files: ")
    assert error_of([], ["HOOK_SECRET"]) == "hooks.send.secret_variables: there is no variable HOOK_SECRET"


def test_a_wrong_secret_is_told_by_its_place_and_not_by_its_text(tmp_path: Path) -> None:
    name = write(tmp_path, "hunter2hunter2")
    message = error_of([name])
    assert name in message
    assert "hunter2" not in message.replace(name, "")


def test_no_secret_and_too_many_are_errors(tmp_path: Path) -> None:
    assert "1 to 4 secrets" in error_of([write(tmp_path, "# nothing\n")])
    assert "1 to 4 secrets" in error_of([write(tmp_path, f"{ONE}\n" * 5)])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe" * 100)
    file.chmod(0o600)
    assert "is no file of secrets" in error_of([str(file)])
