"""Writes messages: what waits for one partition when its turn comes is one batch, and one mutation in the database.

    submit ──► lane of the channel ──► line of ready lanes ──► batch ──► Cassandra
    done, in order ◄─────────────────────────────────────────── answer

A lane has one batch under way. A message that comes alone is sent in the same turn; while its batch is under way others
gather behind it and become the next one. So batches are as large as the load asks for, and nobody waits for a timer.
A batch has messages, their keys and, once for a bucket, the note that the bucket is there. All cells carry the
message's own time as their timestamp: a batch may be written twice, by one node or by two, and changes nothing.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from protocol.names import ChannelName
from storage import Done, StoreBusy, StoreError, StoreStatistics, StoreUnavailable
from storage.cassandra_batch import Cargo, Packer
from storage.cassandra_buckets import Buckets, namespace_of
from storage.cassandra_dispatch import Dispatch
from storage.cassandra_lanes import Lane, Part, Write, fail, stored
from storage.cassandra_lines import Lines
from storage.cassandra_session import Row, Session
from storage.records import StoredMessage

SETTLE_SECONDS = 1.0  # how often rows of which nothing is known are written again

_log = structlog.get_logger(__name__)


class Writer:
    """Takes messages and tells when they are kept. All methods are called on the trio thread."""

    def __init__(self, session: Session, buckets: Buckets, on_stored: Callable[[ChannelName, int], None]) -> None:
        self._settings = session.settings
        self._buckets = buckets
        self._packer = Packer(session, buckets)
        self._dispatch = Dispatch(session, Lines(session.cluster, session.settings))
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

    async def prepare(self) -> None:
        """Prepare every statement that a batch may have; before anything else."""
        await self._packer.prepare()

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
        """Send what waits, as far as batches may be under way; the more lanes wait, the more of them share a batch."""
        self._is_woken = False
        settings = self._settings
        while self._line and self._sending < settings.batches_in_flight:
            share = math.ceil(len(self._line) / (settings.batches_in_flight - self._sending))
            cargos = self._take(min(share, settings.batch_partitions))
            if cargos:
                self._send(cargos)

    def _take(self, lanes: int) -> list[Cargo]:
        """Take what goes in one batch from the lanes that stand first in the line."""
        line = self._line
        room = self._packer.room()
        cargos: list[Cargo] = []
        for _ in range(min(lanes, len(line))):
            lane = line[0]
            width = self._buckets.widths.get(namespace_of(lane.channel))
            if lane.waiting and width is not None:
                cargo = self._packer.take(lane, width, room, is_first=not cargos)
                if cargo is None:
                    break  # the batch is full
                cargos.append(cargo)
                lane.is_sending = True
            elif lane.waiting:
                lane.is_sending = True
                self._learn(lane)
            line.popleft()
            lane.is_ready = False
        return cargos

    def _send(self, cargos: list[Cargo]) -> None:
        self._sending += 1
        done = partial(self._sent, cargos)
        try:
            self._dispatch.send(self._packer.lay_out(cargos), done)
        except Exception as error:  # a value that no column can have
            done((), StoreError(f"a message cannot be laid out for the database: {error}"))

    def _sent(self, cargos: list[Cargo], _: Sequence[Row], error: StoreError | None) -> None:
        """Take the database's answer to a batch."""
        self._sending -= 1
        if error is None:
            self._batches_written += 1
            for cargo in cargos:
                lane = cargo.lane
                lane.is_sending = False
                self._buckets.note(lane.channel, cargo.bucket, cargo.table)
                self._on_stored(lane.channel, cargo.rows)
                self._tell(stored(cargo.parts), None)
                self._go_on(lane)
        elif len(cargos) > 1 and not isinstance(error, StoreUnavailable):
            # One of them is refused, and must not take the others with it.
            for cargo in cargos:
                self._send([cargo])
        else:
            for cargo in cargos:
                cargo.lane.is_sending = False
                self._fail(cargo.lane, cargo.parts, error)
                self._go_on(cargo.lane)

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
        """Keep the way to the nodes, and write unsettled rows again from time to time, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dispatch.run)
            nursery.start_soon(self._settle_loop)

    async def _settle_loop(self) -> None:
        """Settle from time to time: one lane first, and all when that works."""
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
