"""The node's secret: made once, kept privately, refused when it is not safe."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatd.config import ConfigError
from chatd.secret import load_or_create


def test_the_secret_is_made_once_and_then_stays(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret"
    secret = load_or_create(path)
    assert len(secret) == 32
    assert load_or_create(path) == secret
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_two_nodes_make_two_secrets(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "one") != load_or_create(tmp_path / "two")


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "secret")
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: load_or_create(tmp_path / "secret"), range(32)))
    assert len(set(made)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"secret: others may read the secret; .* chmod 600"):
        load_or_create(path)


@pytest.mark.parametrize("text", ["", "00" * 31, "not hexadecimal" * 10, "é" * 64])
def test_a_file_without_a_full_secret_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="a secret"):
        load_or_create(path)


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no file|directory"):
        load_or_create(tmp_path)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_or_create(tmp_path / "file" / "secret")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
