"""`chatd db` tells operators about their database, and says in one line why it cannot."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatd.commands.db import db
from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import sqlite_messages as messages_table
from storage.file_lock import FileLock
from storage.migrations import shipped
from storage.records import StoredMessage
from storage.sqlite_connection import connect_writer


@pytest.fixture
def var(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(f"[server]\nvar = '{tmp_path / 'var'}'\n")
    return tmp_path / "var"


def run(var: Path, *arguments: str) -> Result:
    return CliRunner().invoke(db, [*arguments, "--config", str(var.parent / "config.toml")])


def write(var: Path, channel: str, *seqs: int) -> None:
    with closing(connect_writer(var / "chatd.sqlite3")) as connection:
        for seq in seqs:
            message = StoredMessage(
                channel=ChannelName(channel),
                epoch=Epoch("first"),
                seq=Seq(seq),
                sender=UserId("alice"),
                key=f"{channel}-{seq}",
                at=seq,
                body=Body(Encoding.JSON, b"{}"),
            )
            messages_table.insert(connection, [message])


def test_migrate_makes_a_database_once(var: Path) -> None:
    all_of_them = "".join(f"applied {migration.number:04}_{migration.name}\n" for migration in shipped())
    first = run(var, "migrate")
    assert (first.exit_code, first.stdout) == (0, all_of_them)
    again = run(var, "migrate")
    assert (again.exit_code, again.stdout) == (0, "the database has this chatd's schema already\n")


def test_migrate_is_refused_while_a_node_serves(var: Path) -> None:
    run(var, "migrate")
    with FileLock(var / "chatd.sqlite3"):
        result = run(var, "migrate")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"chatd: {var}/chatd.sqlite3 is in use by another chatd")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["status"], ["check"], ["backup", "copy"]])
def test_a_database_that_does_not_exist_is_named_and_not_made(var: Path, arguments: list[str]) -> None:
    result = run(var, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"chatd: {var}/chatd.sqlite3 does not exist")
    assert not var.exists()


def test_status_counts_while_a_node_serves(var: Path) -> None:
    run(var, "migrate")
    write(var, "dm:alice:bob", 1, 2, 3)
    write(var, "group:one", 1)
    with FileLock(var / "chatd.sqlite3"):
        result = run(var, "status")
    assert result.exit_code == 0, result.output
    shown = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert {name: value.strip() for name, value in shown.items() if name not in ("size", "write-ahead log")} == {
        "file": str(var / "chatd.sqlite3"),
        "schema version": str(len(shipped())),
        "pending": "nothing",
        "messages": "4",
        "channels": "2",
        "users": "0",
        "devices": "0",
    }


def test_check_finds_a_hole_in_a_durable_channel_only(var: Path) -> None:
    run(var, "migrate")
    write(var, "room:lobby", 1, 5)  # `recent`: the newest are saved, not all
    write(var, "dm:alice:bob", 4, 5)
    good = run(var, "check")
    assert (good.exit_code, good.stdout) == (0, "the database is whole\n")
    write(var, "dm:alice:bob", 8)
    bad = run(var, "check")
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert bad.stderr == "dm:alice:bob: nothing between seq 5 and 8 of epoch first\n"


def test_check_finds_a_damaged_file(var: Path) -> None:
    run(var, "migrate")
    write(var, "dm:alice:bob", *range(1, 200))
    with (var / "chatd.sqlite3").open("r+b") as file:
        file.seek(-3000, 2)
        file.write(b"\xff" * 2000)
    assert run(var, "check").exit_code == 1


def test_a_backup_is_a_database(var: Path, tmp_path: Path) -> None:
    run(var, "migrate")
    write(var, "dm:alice:bob", 1, 2, 3)
    copy = tmp_path / "copies" / "chatd.sqlite3"
    copy.parent.mkdir()
    with FileLock(var / "chatd.sqlite3"):
        result = run(var, "backup", str(copy))
    assert result.exit_code == 0, result.output
    (tmp_path / "config.toml").write_text(f"[server]\nvar = '{copy.parent}'\n")
    assert "messages:         3\n" in run(var, "status").stdout
    assert run(var, "backup", str(copy)).exit_code == 1


def test_a_wrong_configuration_ends_with_code_2(var: Path) -> None:
    (var.parent / "config.toml").write_text("[store]\nspeed = 1\n")
    result = run(var, "status")
    assert (result.exit_code, result.stderr) == (2, "chatd: store.speed: unknown key\n")
