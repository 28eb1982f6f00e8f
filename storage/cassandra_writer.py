"""Writes messages: what waits for one partition when its turn comes is one batch, and one mutation in the database.

    submit ──► lane of the channel ──► line of ready lanes ──► batch ──► Cassandra
    done, in order ◄─────────────────────────────────────────── answer

A lane has one batch under way. A message that comes alone is sent in the same turn; while its batch is under way others
gather behind it and become the next one. So batches are as large as the load asks for, and nobody waits for a timer.
A batch has messages, their keys and, once for a bucket, the note that the bucket is there. All cells carry the
message's own time as their timestamp: a batch may be written twice, by one node or by two, and changes nothing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
import trio
from cassandra.query import BatchStatement, BatchType

from protocol.names import ChannelName
from storage import Done, StoreBusy, StoreError, StoreStatistics, StoreUnavailable
from storage import cassandra_rows as rows_of
from storage.cassandra_buckets import Buckets, namespace_of
from storage.cassandra_lanes import Lane, Part, Write, fail, stored
from storage.cassandra_session import Row, Session
from storage.records import StoredMessage

ROW_BYTES = 300  # of a message in a batch besides its body, with its key: names of usual length
SETTLE_SECONDS = 1.0  # how often rows of which nothing is known are written again

_log = structlog.get_logger(__name__)


class Writer:
    """Takes messages and tells when they are kept. All methods are called on the trio thread."""

    def __init__(self, session: Session, buckets: Buckets, on_stored: Callable[[ChannelName, int], None]) -> None:
        self._session = session
        self._settings = session.settings
        self._buckets = buckets
        self._on_stored = on_stored  # told of each batch: a channel, and how many rows
        self._lanes: dict[ChannelName, Lane] = {}
        self._line: deque[Lane] = deque()  # lanes that have something to send, in turn
        self._learning: dict[str, list[Lane]] = {}  # lanes that wait for the width of their namespace
        self._sending = 0
        self._is_woken = False
        self._is_closing = False
        self._empty = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._number = 0
        self._rows_waiting = 0
        self._rows_written = 0
        self._batches_written = 0
        self._failures = 0
        self._ids: dict[str, bytes] = {}

    async def prepare(self) -> None:
        """Prepare every statement that a batch may have; before anything else."""
        for query in (
            *rows_of.INSERT.values(),
            *rows_of.REVISE.values(),
            *rows_of.NOTE_BUCKET.values(),
            rows_of.INSERT_KEY,
        ):
            self._ids[query] = (await self._session.prepare(query)).query_id

    # Taking messages.

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Queue messages to be written; `done` is called later.

        Raises:
            StoreBusy: `queue_rows` wait already.
            StoreUnavailable: The writer was closed.
        """
        if self._is_closing:
            raise StoreUnavailable("the store is closed")
        if self._rows_waiting + len(messages) > self._settings.queue_rows:
            raise StoreBusy(f"{self._rows_waiting} rows wait to be written already")
        self._add(messages, done)

    def _add(self, messages: Sequence[StoredMessage], done: Done) -> Write:
        self._number += 1
        self._rows_waiting += len(messages)
        write = Write(self._number, done, len(messages))
        if len(messages) == 1:
            self._enter(write, messages[0].channel, messages)
        else:
            of_channel: dict[ChannelName, list[StoredMessage]] = {}
            for message in messages:
                of_channel.setdefault(message.channel, []).append(message)
            for channel, its in of_channel.items():
                self._enter(write, channel, its)
        if not write.lanes:
            self._token.run_sync_soon(self._tell, [write], None)
        return write

    def _enter(self, write: Write, channel: ChannelName, messages: Sequence[StoredMessage]) -> None:
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = Lane(channel)
        if lane.unsettled and not lane.is_sending:
            self._settle_first(lane)
        lane.add(write, messages)
        self._line_up(lane)

    def _settle_first(self, lane: Lane) -> None:
        """Let rows of which nothing is known go before anything else of their channel."""
        unsettled, lane.unsettled = lane.unsettled, {}
        self._number += 1
        again = Write(self._number, _nobody, len(unsettled))
        self._rows_waiting += len(unsettled)
        lane.add(again, [unsettled[seq] for seq in sorted(unsettled)])

    def _line_up(self, lane: Lane) -> None:
        if lane.is_sending or lane.is_ready:
            return
        lane.is_ready = True
        self._line.append(lane)
        self._wake()

    def _wake(self) -> None:
        """Send when this turn is over, so that what it brings for one partition goes together."""
        if not self._is_woken:
            self._is_woken = True
            self._token.run_sync_soon(self._send_all)

    # Sending.

    def _send_all(self) -> None:
        self._is_woken = False
        line = self._line
        while line and self._sending < self._settings.in_flight:
            lane = line.popleft()
            lane.is_ready = False
            if lane.waiting:
                self._send(lane)

    def _send(self, lane: Lane) -> None:
        width = self._buckets.widths.get(namespace_of(lane.channel))
        lane.is_sending = True
        if width is None:
            self._learn(lane)
            return
        parts, bucket = self._take(lane, width)
        table = rows_of.EXPIRING if self._retention(lane) else rows_of.KEPT
        self._sending += 1
        done = partial(self._sent, lane, parts, bucket, table)
        try:
            batch = self._batch(lane, bucket, table, parts)
        except Exception as error:  # a value that no column can have: it must not end more than its channel's writes
            done((), StoreError(f"a message cannot be laid out for the database: {error}"))
        else:
            self._session.send(batch, done)

    def _retention(self, lane: Lane) -> int:
        return self._settings.rules(namespace_of(lane.channel)).retention_seconds

    def _take(self, lane: Lane, width: int) -> tuple[list[Part], int]:
        """Take what goes in one batch: parts of one bucket, within the bounds. A part larger than these is split."""
        rows_left: float = self._settings.batch_rows
        bytes_left = self._settings.batch_bytes
        waiting = lane.waiting
        bucket = waiting[0].messages[0].seq // width
        end = (bucket + 1) * width
        taken: list[Part] = []
        while waiting:
            part = waiting[0]
            messages = part.messages
            count = 0
            for message in messages:
                size = len(message.body.raw) + ROW_BYTES
                if not bucket * width <= message.seq < end or rows_left < 1 or (bytes_left < size and (taken or count)):
                    break
                rows_left -= 1
                bytes_left -= size
                count += 1
            if count < len(messages):
                if taken or not count:
                    break  # it goes whole in a later batch
                waiting.popleft()
                rest = Part(part.write, lane, messages[count:])
                waiting.appendleft(rest)
                part.messages = messages[:count]
                part.is_sent = True
                taken.append(part)
                break
            waiting.popleft()
            part.is_sent = True
            taken.append(part)
        return taken, bucket

    def _batch(self, lane: Lane, bucket: int, table: str, parts: list[Part]) -> Any:
        """Lay out a batch of one partition."""
        settings = self._settings
        retention = self._retention(lane)
        partition = rows_of.PartitionKey(lane.channel, bucket)
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        batch.keyspace = settings.keyspace
        batch.routing_key = partition.routing
        add = batch._add_statement_and_params
        ids = self._ids
        insert, insert_key = ids[rows_of.INSERT[table]], ids[rows_of.INSERT_KEY]
        for part in parts:
            for message in part.messages:
                seconds = rows_of.time_left(retention, message.at) if retention else 0
                add(True, insert, rows_of.message_values(partition, message, seconds))
                if message.revised_at is not None:
                    revision = rows_of.revise_values(partition, message, message.revised_at, seconds)
                    add(True, ids[rows_of.REVISE[table]], revision)
                add(True, insert_key, rows_of.key_values(partition, message, table, settings.dedupe_seconds))
        seconds_to_note = self._buckets.seconds_to_note(lane.channel, bucket, table, retention)
        if seconds_to_note is not None:
            self._buckets.forget(lane.channel, bucket, table)
            add(True, ids[rows_of.NOTE_BUCKET[table]], rows_of.bucket_values(partition, seconds_to_note))
        return batch

    def _sent(
        self, lane: Lane, parts: list[Part], bucket: int, table: str, _: Sequence[Row], error: StoreError | None
    ) -> None:
        """Take the database's answer to a batch."""
        self._sending -= 1
        lane.is_sending = False
        if error is None:
            self._batches_written += 1
            self._buckets.note(lane.channel, bucket, table)
            self._on_stored(lane.channel, sum(len(part.messages) for part in parts))
            self._tell(stored(parts), None)
        else:
            self._fail(lane, parts, error)
        self._go_on(lane)

    def _fail(self, lane: Lane, parts: Sequence[Part], error: StoreError) -> None:
        self._failures += 1
        failed = StoreUnavailable(f"messages cannot be written: {error}")
        failed.__cause__ = error
        writes = fail(lane)
        if not isinstance(error, StoreUnavailable):
            for part in parts:  # the database refused them: they are not in it
                for message in part.messages:
                    lane.unsettled.pop(message.seq, None)
        self._tell(writes, failed)

    def _go_on(self, lane: Lane) -> None:
        """Line up a lane again if something waits in it; forget it if it is empty."""
        if lane.waiting:
            self._line_up(lane)
        elif lane.is_idle and self._lanes.get(lane.channel) is lane:
            del self._lanes[lane.channel]
        if self._line:
            self._wake()
        if self._is_closing and not self._rows_waiting:
            self._empty.set()

    def _tell(self, writes: Sequence[Write], error: StoreError | None) -> None:
        """Call `done` of each write, in order."""
        for write in writes:
            self._rows_waiting -= write.rows
            if error is None:
                self._rows_written += write.rows
            try:
                write.done(error)
            except Exception:
                # An error that left a callback of trio's would end the whole process, and with it all other writes.
                _log.exception("a callback of a finished write failed")

    # Learning the width of a namespace that nobody here has used yet.

    def _learn(self, lane: Lane) -> None:
        namespace = namespace_of(lane.channel)
        waiting = self._learning.get(namespace)
        if waiting is not None:
            waiting.append(lane)
            return
        self._learning[namespace] = [lane]
        trio.lowlevel.spawn_system_task(self._find_width, namespace, lane.channel)

    async def _find_width(self, namespace: str, channel: ChannelName) -> None:
        error: StoreError | None = None
        try:
            await self._buckets.width(channel)
        except StoreError as failure:
            error = failure
        for lane in self._learning.pop(namespace):
            lane.is_sending = False
            if error is not None:
                self._fail(lane, (), error)
            self._go_on(lane)

    # Settling.

    async def settle(self, channel: ChannelName) -> None:
        """Return when nothing of a channel is under way or unsettled: what is read then stays as it is.

        Raises:
            StoreUnavailable: It cannot be written.
        """
        lane = self._lanes.get(channel)
        if lane is None or lane.is_idle:
            return
        settled = trio.Event()
        failure: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error is not None:
                failure.append(error)
            settled.set()

        if lane.unsettled:
            unsettled, lane.unsettled = lane.unsettled, {}
            self._add([unsettled[seq] for seq in sorted(unsettled)], done)
        elif lane.untold:
            self._number += 1
            lane.follow(Write(self._number, done, 0))
        else:
            return
        await settled.wait()
        if failure:
            raise failure[0]

    def unsettled_of(self, sender: str, key: str) -> list[ChannelName]:
        """Return the channels in which a message of this sender and key is unsettled."""
        return [
            lane.channel
            for lane in self._lanes.values()
            if any((message.sender, message.key) == (sender, key) for message in lane.unsettled.values())
        ]

    def is_unsettled(self, channel: ChannelName) -> bool:
        """Tell whether something of a channel may be in the database or not."""
        lane = self._lanes.get(channel)
        return lane is not None and bool(lane.unsettled)

    async def run(self) -> None:
        """Write unsettled rows again from time to time, until cancelled: one lane first, and all when that works."""
        while True:
            await trio.sleep(SETTLE_SECONDS)
            unsettled = [lane.channel for lane in self._lanes.values() if lane.unsettled]
            for channel in unsettled:
                try:
                    await self.settle(channel)
                except StoreError:
                    break

    # Its end.

    async def aclose(self) -> None:
        """Write what is queued and tell it. Do not cancel it."""
        self._is_closing = True
        if self._rows_waiting:
            await self._empty.wait()
        lost = sum(len(lane.unsettled) for lane in self._lanes.values())
        if lost:
            _log.error("of some messages it is not known whether they are kept", messages=lost)

    def statistics(self) -> StoreStatistics:
        """Return counts since the start, and what waits now."""
        return StoreStatistics(self._rows_written, self._batches_written, self._rows_waiting, self._failures)


def _nobody(_: Exception | None) -> None:
    """Take the end of a write that nobody waits for."""
