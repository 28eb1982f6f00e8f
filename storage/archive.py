"""A file (or stream) with everything of a store, which any store can be filled from.

    "chatd archive 1\\n", then frames:   length (4 bytes, big-endian) · SHA-256 (32 bytes) · payload (MessagePack)

The SHA-256 is that of the archive's id, the frame's number (8 bytes, big-endian) and the payload, so frames cannot be
damaged, lost, moved or taken from another archive unseen. The first frame is a `Begin`, then come `Rows`, table by
table, and at the end an `End` with the counts and the checksum of all records. An archive without its `End` was
interrupted.
"""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

import msgspec

from storage import StoreError
from storage.archive_rows import FIELDS
from storage.checksum import Tally
from storage.moving import Table

MAGIC = b"chatd archive 1\n"
FRAME_BYTES = 1 << 28  # a longer length is damage: a frame has some hundred records
_HEAD_BYTES = 4 + hashlib.sha256().digest_size

Bodies = Literal["kept", "plain"]
"""How message bodies are in the archive: as the store keeps them, which may be sealed, or opened."""


class ArchiveError(StoreError):
    """The archive cannot be used: its text is one line that says why."""


class ArchiveDamaged(ArchiveError):
    """The archive is not what was written, or not all of it."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """What the archive is: its id (any unique text), how its bodies are, and the fields of its records."""

    archive: str
    bodies: Bodies
    fields: dict[Table, tuple[str, ...]]


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Some records of a table, and where the store's next page of it begins (None: the table is done)."""

    table: Table
    next: str | None
    records: msgspec.Raw


class End(msgspec.Struct, frozen=True, tag="end"):
    """When the last page was read (Unix milliseconds), what there is of each table, and the checksum of it all.

    `copied_at` is when the store itself was copied from another one, 0 if it was not.
    """

    at: int
    copied_at: int
    tallies: dict[Table, Tally]
    checksum: str


Frame = Begin | Rows | End

_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def write_frame(file: BinaryIO, archive: str, number: int, frame: Frame) -> None:
    """Append a frame; the first one, a `Begin`, has the number 0 and goes behind the magic line."""
    payload = msgspec.msgpack.encode(frame)
    name = b"" if number == 0 else archive.encode()
    file.write(len(payload).to_bytes(4, "big") + _digest(name, number, payload) + payload)


class FrameReader:
    """Reads frames and checks them, from a file or a stream; `offset` is where the last good one ended."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._archive = b""
        self._number = 0
        self.offset = 0

    def frames(self) -> Iterator[Frame]:
        """Read all frames, from the first one to the `End`.

        Raises:
            ArchiveDamaged: It is damaged or ends too early.
        ArchiveError: It is not one that this program can read.
        """
        start = self._file.read(len(MAGIC))
        if not MAGIC.startswith(start):
            raise ArchiveError(f"{self._name} is no archive of chatd that this version can read")
        if len(start) < len(MAGIC):
            raise self._torn()
        self.offset = len(MAGIC)
        while True:
            frame = self._frame()
            if isinstance(frame, Begin) != (self._number == 0):
                raise self._damaged("its frames are not in order")
            if isinstance(frame, Begin):
                self._check_fields(frame)
                self._archive = frame.archive.encode()
            self._number += 1
            yield frame
            if isinstance(frame, End):
                break
        if self._file.read(1):
            raise self._damaged("something follows its end")

    def _frame(self) -> Frame:
        head = self._file.read(_HEAD_BYTES)
        length = int.from_bytes(head[:4], "big")
        if len(head) == _HEAD_BYTES and length > FRAME_BYTES:
            raise self._damaged("a length cannot be")
        payload = self._file.read(length) if len(head) == _HEAD_BYTES else b""
        if len(head) < _HEAD_BYTES or len(payload) < length:
            raise self._torn()
        if _digest(self._archive, self._number, payload) != head[4:]:
            raise self._damaged("a checksum is wrong")
        try:
            frame = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise self._damaged(str(error)) from error
        self.offset += _HEAD_BYTES + length
        return frame

    def _check_fields(self, begin: Begin) -> None:
        """Records are arrays, so archive and program must name the same fields."""
        if begin.fields != FIELDS:
            raise ArchiveError(f"{self._name} was made by a chatd with other records: import it with that version")

    def _torn(self) -> ArchiveDamaged:
        return ArchiveDamaged(f"{self._name} is not whole: it ends after {self.offset:,} good bytes, without its end")

    def _damaged(self, reason: str) -> ArchiveDamaged:
        return ArchiveDamaged(f"{self._name} is damaged behind byte {self.offset:,} (frame {self._number}): {reason}")


def _digest(archive: bytes, number: int, payload: bytes) -> bytes:
    return hashlib.sha256(archive + number.to_bytes(8, "big") + payload).digest()
