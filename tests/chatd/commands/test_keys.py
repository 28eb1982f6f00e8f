"""`chatd db keys` makes, shows and rotates keys, and export and import do with sealed bodies what they are told."""

from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from chatd.commands.db import db
from chatd.config import Config, load
from chatd.server import serve
from chatd.stores import open_store
from storage.file_lock import FileLock
from storage.records import StoredMessage
from storage.sealing import KeyMissing, is_sealed
from storage.sqlite import open_sqlite
from tests.contracts.store import ROOM, message, write


def run(*arguments: str, config: Path | None = None) -> Result:
    return CliRunner().invoke(db, [*arguments, *(["--config", str(config)] if config else [])])


def good(*arguments: str, config: Path | None = None) -> str:
    result = run(*arguments, config=config)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def configure(folder: Path, active: str, *keys: str, var: str = "var") -> Path:
    """Write the configuration of a node that has these master keys."""
    listed = ", ".join(f'{key} = "file:{folder}/{key}.key"' for key in keys)
    (folder / f"{var}.toml").write_text(
        f"[server]\nvar = '{folder / var}'\nport = 0\n[store.encryption]\nactive = '{active}'\nkeys = {{ {listed} }}\n"
    )
    return folder / f"{var}.toml"


def say(config: Path, *seqs: int) -> list[StoredMessage]:
    """Write messages as a node does, and return the history."""

    async def write_and_read() -> list[StoredMessage]:
        async with open_store(load(config, {})) as opened:
            await write(opened.store, [message(seq) for seq in seqs])
            return await opened.store.history(ROOM, limit=100)

    Path(load(config, {}).server.var).mkdir(exist_ok=True)
    return trio.run(write_and_read)


def kept(var: Path) -> list[StoredMessage]:
    """Return the history as it is in the file."""

    async def read() -> list[StoredMessage]:
        async with open_sqlite(var / "chatd.sqlite3") as store:
            return await store.history(ROOM, limit=100)

    return trio.run(read)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """The configuration of a node that seals with the key `old`, and has one message; there is another key `new`."""
    for name in ("old", "new"):
        good("keys", "make", str(tmp_path / f"{name}.key"))
    config = configure(tmp_path, "old", "old")
    say(config, 1)
    return config


def test_a_master_key_is_made_once(tmp_path: Path) -> None:
    made = good("keys", "make", str(tmp_path / "main.key"))
    assert f'{{ "main" = "file:{tmp_path}/main.key" }}' in made
    assert (tmp_path / "main.key").read_text().strip() not in made
    again = run("keys", "make", str(tmp_path / "main.key"))
    assert (again.exit_code, again.stderr) == (1, f"chatd: {tmp_path}/main.key: File exists\n")


def test_data_keys_are_listed(sealed: Path, tmp_path: Path) -> None:
    [line] = good("keys", "list", config=sealed).splitlines()
    assert line.endswith("master key old: opens, seals")
    [line] = good("keys", "list", config=configure(tmp_path, "", "new")).splitlines()
    assert line.endswith("master key old: does not open")


def test_a_new_data_key_seals_from_now_on_while_a_node_serves(sealed: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / "var" / "chatd.sqlite3"):
        assert "a data key, wrapped with the master key old" in good("keys", "rotate", config=sealed)
        first, second = good("keys", "list", config=sealed).splitlines()
    assert first.endswith("opens")
    assert second.endswith("opens, seals")
    assert say(sealed, 2) == [message(1), message(2)]
    bodies = [each.body.raw for each in kept(tmp_path / "var")]
    assert [body[2:10].hex() for body in bodies] == [first.split()[0], second.split()[0]]


def test_a_new_master_key_replaces_the_old_one_without_touching_history(sealed: Path, tmp_path: Path) -> None:
    before = kept(tmp_path / "var")
    both = configure(tmp_path, "new", "old", "new")
    assert good("keys", "rewrap", config=both) == "1 data keys wrapped anew\n"
    assert good("keys", "rewrap", config=both) == "0 data keys wrapped anew\n"
    only_new = configure(tmp_path, "new", "new")
    assert say(only_new) == [message(1)]
    assert kept(tmp_path / "var") == before
    assert good("keys", "list", config=only_new).rstrip().endswith("master key new: opens, seals")


def test_data_keys_are_not_wrapped_anew_where_one_does_not_open(sealed: Path, tmp_path: Path) -> None:
    result = run("keys", "rewrap", config=configure(tmp_path, "new", "new"))
    assert result.exit_code == 1
    assert "the master key old is missing" in result.stderr
    assert say(configure(tmp_path, "old", "old")) == [message(1)]


def test_without_an_active_key_there_is_nothing_to_wrap_with(sealed: Path, tmp_path: Path) -> None:
    for command in ("rotate", "rewrap"):
        result = run("keys", command, config=configure(tmp_path, "", "old"))
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "store.encryption.active" in result.stderr


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    result = run("keys", "list", config=configure(tmp_path, ""))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "var").exists()


def test_a_node_without_a_key_that_it_needs_does_not_start(sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="the master key old is missing"):
        trio.run(partial(serve, load(configure(tmp_path, ""), {}), Config, lambda _: None))


def test_an_export_keeps_bodies_sealed_and_the_import_needs_no_key(sealed: Path, tmp_path: Path) -> None:
    checksum = good("export", str(tmp_path / "archive"), config=sealed).splitlines()[-1]
    assert b'{"n":1}' not in (tmp_path / "archive").read_bytes()
    other = configure(tmp_path, "", var="other")
    assert good("import", str(tmp_path / "archive"), config=other).splitlines()[-1] == checksum
    assert good("checksum", config=other).splitlines()[-1] == checksum
    assert say(configure(tmp_path, "", "old", var="other")) == [message(1)]


def test_a_plain_export_needs_the_key_and_can_be_imported_plain_or_sealed(sealed: Path, tmp_path: Path) -> None:
    archive = str(tmp_path / "archive")
    refused = run("export", archive, "--bodies", "plain", config=configure(tmp_path, ""))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "the master key old is missing" in refused.stderr
    checksum = good("export", archive, "--bodies", "plain", config=configure(tmp_path, "", "old")).splitlines()[-1]
    assert b'{"n":1}' in (tmp_path / "archive").read_bytes()
    for var, active in (("plain", ""), ("anew", "new")):
        other = configure(tmp_path, active, "new", var=var)
        assert good("import", archive, config=other).splitlines()[-1] == checksum
        assert [is_sealed(each.body) for each in kept(tmp_path / var)] == [bool(active)]
        assert say(other) == [message(1)]
        again = good("export", str(tmp_path / f"from {var}"), "--bodies", "plain", config=other)
        assert again.splitlines()[-1] == checksum
