"""An archive is read as it was written, or refused with the reason."""

import hashlib
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from storage.archive import MAGIC, ArchiveDamaged, ArchiveError, Begin, End, FrameReader, Rows
from storage.archive_rows import decode_records, encode_records, split
from storage.archive_writer import ArchiveWriter, archive_file
from storage.checksum import Checksum
from storage.moving import Table
from storage.records import PreferenceRecord
from tests.contracts.moving import everything


def written(archive: str = "one") -> bytes:
    """Make an archive with a frame for each table."""
    file = BytesIO()
    writer = ArchiveWriter(file, archive, "kept")
    writer.start()
    for table, records in everything().items():
        writer.write(table, None, encode_records(table, records))
    writer.end(at=77)
    return file.getvalue()


def frames(data: bytes) -> list[Begin | Rows | End]:
    """Read all frames."""
    return list(FrameReader(BytesIO(data), "the file").frames())


@pytest.mark.parametrize("table", Table)
def test_records_come_back_as_they_were_encoded(table: Table) -> None:
    records = everything()[table]
    assert decode_records(table, encode_records(table, records)) == records


def test_an_archive_comes_back_as_it_was_written() -> None:
    begin, *rows, end = frames(written())
    assert isinstance(begin, Begin)
    assert (begin.archive, begin.bodies) == ("one", "kept")
    found = {
        frame.table: decode_records(frame.table, split(frame.records)) for frame in rows if isinstance(frame, Rows)
    }
    assert found == everything()
    assert isinstance(end, End)
    assert end.at == 77
    assert {table: tally.records for table, tally in end.tallies.items()} == {
        table: len(records) for table, records in everything().items()
    }


def test_every_damaged_byte_is_noticed() -> None:
    good = written()
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        with pytest.raises(ArchiveError, match="the file is "):
            frames(bytes(damaged))


def test_every_missing_end_is_noticed() -> None:
    good = written()
    for length in range(len(good)):
        with pytest.raises(ArchiveDamaged, match="the file is not whole"):
            frames(good[:length])


def test_a_frame_that_was_left_out_doubled_or_taken_from_elsewhere_is_noticed() -> None:
    good, other = written(), written("two")
    reader = FrameReader(BytesIO(good), "")
    ends = [reader.offset for _ in reader.frames()]
    assert len(good) == len(other) == ends[-1]
    for spoiled in (
        good[: ends[2]] + good[ends[3] :],
        good[: ends[2]] + good[ends[1] :],
        good[: ends[1]] + other[ends[1] : ends[2]] + good[ends[2] :],
        good + b"\0",
        good + good[len(MAGIC) :],
    ):
        with pytest.raises(ArchiveDamaged):
            frames(spoiled)


def test_something_else_is_no_archive() -> None:
    with pytest.raises(ArchiveError, match="the file is no archive of chatd"):
        frames(b"SQLite format 3\0" * 10)


def test_an_archive_with_other_records_is_refused() -> None:
    begin = Begin("one", "kept", {Table.USERS: ("user", "shoe_size")})
    payload = msgspec.msgpack.encode(begin)

    digest = hashlib.sha256((0).to_bytes(8, "big") + payload).digest()
    with pytest.raises(ArchiveError, match="other records"):
        frames(MAGIC + len(payload).to_bytes(4, "big") + digest + payload)


def test_the_checksum_does_not_depend_on_the_order_but_on_every_record() -> None:
    def checksum(*records: PreferenceRecord) -> str:
        found = Checksum()
        for record in records:
            found.add(Table.PREFERENCES, encode_records(Table.PREFERENCES, [record]))
        return found.hexdigest()

    everywhere, room = everything()[Table.PREFERENCES]
    assert isinstance(everywhere, PreferenceRecord)
    assert isinstance(room, PreferenceRecord)
    other_order = msgspec.structs.replace(everywhere, values={"a": "2", "z": "1"})
    assert checksum(everywhere, room) == checksum(room, other_order)
    assert (
        len({checksum(), checksum(room), checksum(everywhere), checksum(room, room), checksum(room, everywhere)}) == 5
    )


def test_a_checksum_goes_on_from_its_tallies() -> None:
    whole, first = Checksum(), Checksum()
    for table, records in everything().items():
        encoded = encode_records(table, records)
        whole.add(table, encoded)
        first.add(table, encoded[:1])
    second = Checksum(first.tallies)
    for table, records in everything().items():
        second.add(table, encode_records(table, records)[1:])
    assert second.hexdigest() == whole.hexdigest()
    assert second.records == whole.records


def test_an_archive_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    with archive_file(target, "one", "kept") as writer:
        writer.write(Table.USERS, None, [])
        assert not target.exists()
        writer.end(1)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [type(frame) for frame in frames(target.read_bytes())] == [Begin, Rows, End]
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ArchiveError, match="exists already"), archive_file(target, "two", "kept"):
        pass


@pytest.mark.parametrize("lost", [1, 30, 1000, 10**9])
def test_an_interrupted_file_is_gone_on_with_behind_its_last_good_frame(tmp_path: Path, lost: int) -> None:
    tables = list(everything().items())
    whole = written()
    (tmp_path / "archive.partial").write_bytes(whole[: max(0, len(whole) - lost)])
    with archive_file(tmp_path / "archive", "another", "kept") as writer:
        there = [table for table, _ in tables].index(writer.last.table) + 1 if writer.last else 0
        for table, records in tables[there:]:
            writer.write(table, None, encode_records(table, records))
        end = writer.end(at=77)
    found = frames((tmp_path / "archive").read_bytes())
    assert found[-1] == end == frames(whole)[-1]
    assert len(found) == len(frames(whole))


def test_a_file_with_other_bodies_or_of_another_kind_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "archive.partial").write_bytes(written()[:-1])
    with pytest.raises(ArchiveError, match="bodies kept"), archive_file(tmp_path / "archive", "two", "plain"):
        pass
    (tmp_path / "archive.partial").write_bytes(b"a letter to my mother")
    with pytest.raises(ArchiveError, match="no archive"), archive_file(tmp_path / "archive", "two", "plain"):
        pass
    assert (tmp_path / "archive.partial").read_bytes() == b"a letter to my mother"


def test_two_exports_do_not_write_one_file(tmp_path: Path) -> None:
    with archive_file(tmp_path / "archive", "one", "kept") as writer:
        with (
            pytest.raises(ArchiveError, match="written by another export"),
            archive_file(tmp_path / "archive", "two", "kept"),
        ):
            pass
        writer.end(1)
