"""Master keys come from files that only their owner reads, or from variables, and are refused when they are none."""

import os
from pathlib import Path

import pytest

from chatd.config import ConfigError, Encryption, load
from chatd.master_keys import make_file, open_ring
from storage.sealing import KeyMissing

DIGITS = "0f" * 32


def config(place: str, active: str = "main") -> Encryption:
    return Encryption(active=active, keys={"main": place})


def test_a_key_that_was_made_is_read_and_wraps(tmp_path: Path) -> None:
    make_file(tmp_path / "one.key")
    assert (tmp_path / "one.key").stat().st_mode & 0o777 == 0o600
    record = open_ring(config(f"file:{tmp_path}/one.key"), {}).make(1)
    assert len(open_ring(config(f"file:{tmp_path}/one.key"), {}).unwrap(record)) == 32
    make_file(tmp_path / "two.key")
    with pytest.raises(KeyMissing):
        open_ring(config(f"file:{tmp_path}/two.key"), {}).unwrap(record)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    make_file(tmp_path / "key")
    before = (tmp_path / "key").read_text()
    with pytest.raises(FileExistsError):
        make_file(tmp_path / "key")
    assert (tmp_path / "key").read_text() == before


def test_a_variable_and_a_file_give_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(DIGITS + "\n")
    (tmp_path / "key").chmod(0o600)
    record = open_ring(config("env:MASTER"), {"MASTER": DIGITS}).make(1)
    open_ring(config(f"file:{tmp_path}/key"), {}).unwrap(record)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "64 hexadecimal digits"),
        ("0f" * 31, "64 hexadecimal digits"),
        ("0f" * 33, "64 hexadecimal digits"),
        ("correct horse battery staple", "written as hexadecimal digits"),
        ("0f" * 4096, "64 hexadecimal digits"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    for place, environment in ((f"file:{tmp_path}/key", {}), ("env:MASTER", {"MASTER": text})):
        with pytest.raises(ConfigError, match=f"^store.encryption.keys.main: .*{reason}") as caught:
            open_ring(config(place), environment)
        assert not text or text not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "key").write_text(DIGITS)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match="others may read the key; make it yours alone with chmod 600"):
        open_ring(config(f"file:{tmp_path}/key"), {})


def test_a_place_without_a_key_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place, reason in (
        (f"file:{tmp_path}/nowhere", "No such file"),
        (f"file:{tmp_path}", "is no file"),
        (f"file:{tmp_path}/pipe", "is no file"),
        ("env:NOWHERE", "there is no variable NOWHERE"),
    ):
        with pytest.raises(ConfigError, match=reason):
            open_ring(config(place), {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('active = "main"', "store.encryption.active: store.encryption.keys has no key main"),
        ('keys = { main = "/etc/key" }', "store.encryption.keys.main: write file:PATH or env:VARIABLE"),
        ('keys = { main = "file:" }', "store.encryption.keys.main: write file:PATH or env:VARIABLE"),
        ('keys = { main = "env:CHATD_KEY" }', "store.encryption.keys.main: variables that begin with CHATD_"),
    ],
)
def test_the_configuration_is_checked(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.toml").write_text(f"[store.encryption]\n{text}\n")
    with pytest.raises(ConfigError, match=reason):
        load(tmp_path / "config.toml", {})
