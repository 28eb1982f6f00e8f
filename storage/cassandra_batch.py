"""Lays out batches: what of which lanes goes together, and its bytes.

A batch of one partition is one mutation. When more lanes have something to send than batches may be under way, several
of them share a batch: each partition is still a mutation of its own, and the server and the driver have fewer requests
to look at. Messages of one `submit` are kept together where the bounds allow it.
"""

from typing import Any, NamedTuple

from storage import cassandra_rows as rows_of
from storage.cassandra_buckets import Buckets, namespace_of
from storage.cassandra_dispatch import Batch, Prepared
from storage.cassandra_lanes import Lane, Part
from storage.cassandra_session import Session

ROW_BYTES = 300  # of a message in a batch besides its body, with its key: names of usual length

_STATEMENTS = (
    *rows_of.INSERT.values(),
    *rows_of.REVISE.values(),
    *rows_of.NOTE_BUCKET.values(),
    rows_of.INSERT_KEY,
)


class Cargo(NamedTuple):
    """What one lane gives to a batch: parts of one bucket."""

    lane: Lane
    parts: list[Part]
    bucket: int
    table: str

    @property
    def rows(self) -> int:
        """How many messages it has."""
        return sum(len(part.messages) for part in self.parts)


class Room:
    """What still fits in a batch."""

    __slots__ = ("bytes", "rows")

    def __init__(self, rows: int, size: int) -> None:
        self.rows = rows
        self.bytes = size

    def fits(self, size: int) -> bool:
        """Tell whether one more message of this size fits."""
        return self.rows >= 1 and self.bytes >= size

    def fill(self, size: int) -> None:
        """Take the room of one message."""
        self.rows -= 1
        self.bytes -= size


class Packer:
    """Takes messages from lanes and makes batches of them."""

    def __init__(self, session: Session, buckets: Buckets) -> None:
        self._session = session
        self._settings = session.settings
        self._buckets = buckets
        self._prepared: dict[str, Prepared] = {}

    async def prepare(self) -> None:
        """Prepare every statement that a batch may have; before anything else."""
        for query in _STATEMENTS:
            prepared = await self._session.prepare(query)
            self._prepared[query] = Prepared(prepared.query_id, len(prepared.column_metadata))

    def room(self) -> Room:
        """Return what an empty batch takes."""
        return Room(self._settings.batch_rows, self._settings.batch_bytes)

    def take(self, lane: Lane, width: int, room: Room, *, is_first: bool) -> Cargo | None:
        """Take from a lane what goes in one batch; None if nothing fits. The first lane of a batch always gives some.

        A part that is larger than a batch may be is split; others go whole, or later.
        """
        waiting = lane.waiting
        bucket = waiting[0].messages[0].seq // width
        end = (bucket + 1) * width
        taken: list[Part] = []
        while waiting:
            part = waiting[0]
            count = _fitting(part, end, room, is_first=is_first and not taken)
            if not count or (count < len(part.messages) and (taken or not is_first)):
                break
            waiting.popleft()
            if count < len(part.messages):
                waiting.appendleft(Part(part.write, lane, part.messages[count:]))
                part.messages = part.messages[:count]
            part.is_sent = True
            taken.append(part)
        if not taken:
            return None
        return Cargo(lane, taken, bucket, rows_of.EXPIRING if self._retention(lane) else rows_of.KEPT)

    def _retention(self, lane: Lane) -> int:
        return self._settings.rules(namespace_of(lane.channel)).retention_seconds

    def lay_out(self, cargos: list[Cargo]) -> Batch:
        """Make a batch. All of it can be written twice."""
        batch = Batch(rows_of.PartitionKey(cargos[0].lane.channel, cargos[0].bucket).routing)
        for cargo in cargos:
            self._add(batch.add, cargo)
        return batch

    def _add(self, add: Any, cargo: Cargo) -> None:
        lane, parts, bucket, table = cargo
        partition = rows_of.PartitionKey(lane.channel, bucket)
        prepared = self._prepared
        insert, insert_key = prepared[rows_of.INSERT[table]], prepared[rows_of.INSERT_KEY]
        retention = self._retention(lane)
        dedupe_seconds = self._settings.dedupe_seconds
        for part in parts:
            for message in part.messages:
                seconds = rows_of.time_left(retention, message.at) if retention else 0
                add(insert, rows_of.message_values(partition, message, seconds))
                if message.revised_at is not None:
                    revision = rows_of.revise_values(partition, message, message.revised_at, seconds)
                    add(prepared[rows_of.REVISE[table]], revision)
                add(insert_key, rows_of.key_values(partition, message, table, dedupe_seconds))
        seconds_to_note = self._buckets.seconds_to_note(lane.channel, bucket, table, retention)
        if seconds_to_note is not None:
            self._buckets.forget(lane.channel, bucket, table)
            add(prepared[rows_of.NOTE_BUCKET[table]], rows_of.bucket_values(partition, seconds_to_note))


def _fitting(part: Part, end: int, room: Room, *, is_first: bool) -> int:
    """Count the messages at the start of a part that fit, and take their room; the very first one always does."""
    count = 0
    for message in part.messages:
        size = len(message.body.raw) + ROW_BYTES
        if message.seq >= end or not (room.fits(size) or (is_first and not count)):
            break
        room.fill(size)
        count += 1
    return count
