"""A backup is the state of one moment, taken while others write."""

import stat
from contextlib import closing
from pathlib import Path

import pytest

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import COPIED_AT, StoreError, StoreUnavailable, sqlite_backup, sqlite_inspection, sqlite_meta
from storage import sqlite_messages as messages_table
from storage.records import StoredMessage
from storage.sqlite import prepare
from storage.sqlite_backup import backup
from storage.sqlite_connection import connect_reader, connect_writer

ROOM = ChannelName("room:one")


def messages(first: int, last: int) -> list[StoredMessage]:
    return [
        StoredMessage(
            channel=ROOM,
            epoch=Epoch("first"),
            seq=Seq(seq),
            sender=UserId("alice"),
            key=f"key-{seq}",
            at=seq,
            body=Body(Encoding.JSON, b'{"text":"' + b"x" * 500 + b'"}'),
        )
        for seq in range(first, last + 1)
    ]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "chatd.sqlite3"
    prepare(path)
    with closing(connect_writer(path)) as connection:
        messages_table.insert(connection, messages(1, 500))
    return path


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "STEP_PAGES", 5)


@pytest.mark.usefixtures("small_steps")
def test_what_is_written_meanwhile_is_not_in_the_copy_and_does_not_disturb_it(database: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with closing(connect_reader(database)) as source, closing(connect_writer(database)) as writer:

        def write_on(copied: int, total: int) -> None:
            seq = 501 + len(steps)
            messages_table.insert(writer, messages(seq, seq))
            steps.append((copied, total))

        backup(source, tmp_path / "copy", write_on)
    assert len(steps) > 5
    assert steps == sorted(steps)  # never begun anew
    assert steps[-1][0] == steps[-1][1]
    with closing(connect_reader(tmp_path / "copy")) as copy:
        assert messages_table.history(copy, ROOM, None, None, 10_000) == messages(1, 500)
        assert sqlite_inspection.faults(copy) == []


def test_only_the_owner_may_read_a_backup(database: Path, tmp_path: Path) -> None:
    with closing(connect_reader(database)) as source:
        backup(source, tmp_path / "copy", lambda *_: None)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_a_backup_says_when_it_was_made_and_the_database_itself_does_not(database: Path, tmp_path: Path) -> None:
    with closing(connect_reader(database)) as source:
        backup(source, tmp_path / "copy", lambda *_: None)
        assert sqlite_meta.get(source, COPIED_AT) is None
    with closing(connect_reader(tmp_path / "copy")) as copy:
        assert int(sqlite_meta.get(copy, COPIED_AT) or 0) > 1_700_000_000_000


def test_reading_a_backup_makes_no_files_beside_it(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    with closing(connect_reader(database)) as source:
        backup(source, folder / "copy", lambda *_: None)
    with closing(connect_reader(folder / "copy")) as copy:
        assert messages_table.history(copy, ROOM, None, None, 1) == messages(500, 500)
        assert [file.name for file in folder.iterdir()] == ["copy"]


def test_a_backup_overwrites_nothing(database: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with closing(connect_reader(database)) as source, pytest.raises(StoreError, match="exists already"):
        backup(source, tmp_path / "copy", lambda *_: None)
    assert (tmp_path / "copy").read_text() == "mine"


def test_a_backup_that_cannot_be_written_is_reported(database: Path, tmp_path: Path) -> None:
    with closing(connect_reader(database)) as source, pytest.raises(StoreUnavailable, match="nowhere"):
        backup(source, tmp_path / "nowhere" / "copy", lambda *_: None)


@pytest.mark.usefixtures("small_steps")
def test_a_backup_that_breaks_off_leaves_no_file_of_its_name(database: Path, tmp_path: Path) -> None:
    def break_off(*_: int) -> None:
        raise KeyboardInterrupt

    with closing(connect_reader(database)) as source:
        with pytest.raises(KeyboardInterrupt):
            backup(source, tmp_path / "copy", break_off)
        assert not (tmp_path / "copy").exists()
        backup(source, tmp_path / "copy", lambda *_: None)
    assert (tmp_path / "copy").exists()


def test_holes_are_found_within_an_epoch_only(database: Path) -> None:
    with closing(connect_writer(database)) as writer:
        writer.execute("DELETE FROM messages WHERE seq <= 3 OR seq IN (10, 11, 400)")
        writer.execute("UPDATE messages SET epoch = 'second', seq = seq + 1000 WHERE seq > 450")
        found = list(sqlite_inspection.holes(writer, "room"))
        assert [(hole.channel, hole.before, hole.after) for hole in found] == [(ROOM, 9, 12), (ROOM, 399, 401)]
        assert str(found[0]) == "room:one: nothing between seq 9 and 12 of epoch first"
        assert list(sqlite_inspection.holes(writer, "dm")) == []
