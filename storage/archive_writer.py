"""Writes an archive, from the start or from where an interrupted export left it."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msgspec import Raw

from storage.archive import MAGIC, ArchiveDamaged, ArchiveError, Begin, Bodies, End, FrameReader, Rows, write_frame
from storage.archive_rows import FIELDS, join, split
from storage.checksum import Checksum
from storage.moving import Table


class ArchiveWriter:
    """Appends to a file or a stream. `last` is the last frame of records, behind which an export goes on."""

    def __init__(self, file: BinaryIO, archive: str, bodies: Bodies) -> None:
        self._file = file
        self._number = 0
        self._bodies = bodies
        self.archive = archive
        self.checksum = Checksum()
        self.last: Rows | None = None

    def start(self) -> None:
        """Begin a new archive."""
        self._file.write(MAGIC)
        self._append(Begin(self.archive, self._bodies, FIELDS))

    def resume(self, name: str) -> None:
        """Go on with what the file has, which may be nothing: what follows its last good frame is cut off.

        Raises:
            ArchiveError: It was begun with another choice of bodies or by another version, or is something else.
        """
        reader = FrameReader(self._file, name)
        good = 0
        try:
            for frame in reader.frames():
                if isinstance(frame, End):
                    break  # it is written anew, for there may be more by now
                self._take_over(frame, name)
                good = reader.offset
        except ArchiveDamaged:
            pass  # the machine stopped in the middle of a frame
        self._file.seek(good)
        self._file.truncate()
        if good == 0:
            self.start()

    def write(self, table: Table, next_: str | None, encoded: Sequence[bytes]) -> None:
        """Append encoded records of a table; its next page begins at `next_`."""
        self.checksum.add(table, encoded)
        self._append(Rows(table, next_, Raw(join(encoded))))

    def end(self, at: int, copied_at: int = 0) -> End:
        """Append the end: the archive is whole."""
        end = End(at, copied_at, self.checksum.tallies, self.checksum.hexdigest())
        self._append(end)
        self._file.flush()
        return end

    def _append(self, frame: Begin | Rows | End) -> None:
        write_frame(self._file, self.archive, self._number, frame)
        self._number += 1

    def _take_over(self, frame: Begin | Rows, name: str) -> None:
        """Count a frame that an earlier run wrote."""
        if isinstance(frame, Begin):
            if frame.bodies != self._bodies:
                raise ArchiveError(f"{name} was begun with bodies {frame.bodies}: go on with that, or remove it")
            self.archive = frame.archive
        else:
            self.checksum.add(frame.table, split(frame.records))
            self.last = frame
        self._number += 1


@contextmanager
def archive_file(target: Path, archive: str, bodies: Bodies) -> Iterator[ArchiveWriter]:
    """Write the archive `target`, or go on with it. It is called `….partial` until the block is left without an error.

    Raises:
        ArchiveError: There is such a file already, somebody else writes it, or it cannot be gone on with.
    """
    if target.exists():
        raise ArchiveError(f"{target} exists already: an export overwrites nothing")
    partial = target.with_name(target.name + ".partial")
    # It has password hashes and private messages.
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveError(f"{partial} is being written by another export") from error
        writer = ArchiveWriter(file, archive, bodies)
        writer.resume(str(partial))
        yield writer
        file.flush()
        os.fsync(file.fileno())
        os.rename(partial, target)
    _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    """Put the new name on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
