"""The clients of one load generator process, and the loop that drives them: raw sockets, one epoll, no library.

Theory of operation. A *turn* asks epoll for ready sockets, reads each once, checks what came, answers acks with the
next sends, and sends what the pace says is due. Readers of one room get the same bytes, so the loop compares each piece
with the one before it: when they are equal, and the reader stands where the piece begins, one comparison has checked
every message in it. Everything else takes the long way through `Scan`.
"""

import re
import select
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.arrivals import CONTROL_BYTES, stamp_of
from bench.connection import Connection, Stage
from bench.dialects import HELLO_ID, SUBSCRIBE_ID, Dialect, is_upgraded, upgrade_request
from bench.histogram import Histogram
from bench.latencies import Latencies
from bench.pace import Pace, schedule
from bench.seats import STREAM, Checks, Seat
from bench.watcher import Seen, Watcher
from bench.wire import Scan, frames, is_close, is_ping, pong_frame

_READ_BYTES = 32768
_EVENTS = 256
_READ = select.EPOLLIN | select.EPOLLET  # without the edge, epoll asks every socket that was read once more
_TICK_SECONDS = 0.25
_FLUSH_READS = 50_000
_PORTS_PER_SOURCE = 20_000
_ERROR_CHARACTERS = 200
_ID = re.compile(r'"id":[0-9]+,')

now_ns = time.monotonic_ns


@dataclass(slots=True)
class Totals:
    """What was not as it should be, since the crew began."""

    closed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)  # codes and reasons of goodbyes


@dataclass(slots=True)
class Stopped:
    """What became of clients that had stopped reading, when they read again."""

    closed: Counter[str] = field(default_factory=Counter)  # how many were cut off, by close code ("none": without one)
    caught_up: int = 0  # still connected, and everything came
    left: int = 0  # still connected, and not everything came in time
    messages_behind: int = 0  # the most that had waited for one of those who were still connected


Tick = Callable[[Histogram, Histogram], None]
"""Told a few times a second what delivery and ack latencies were recorded since the last time."""


class Crew:
    """The clients of one process."""

    def __init__(
        self, dialect: Dialect, addresses: Sequence[tuple[str, int]], body_bytes: int, tick: Tick, number: int = 0
    ) -> None:
        self._dialect = dialect
        self._addresses = addresses
        self._number = number
        self._body_bytes = body_bytes
        self._tick = tick
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._requests = [upgrade_request(dialect, f"{host}:{port}") for host, port in addresses]
        self._scan = Scan(dialect.grammar)
        self._messages = (dialect.grammar.first, dialect.grammar.compressed)
        self._next_tick = 0
        self._in_flight = 0
        self._opening = 0
        self._opened = 0
        # The last piece that took the long way, for readers that get the same bytes.
        self._piece = b""
        self._piece_first = 0
        self._piece_after = 0
        self._piece_number = 0
        # The same for those who hear several streams.
        self._heard = b""
        self._heard_counters: list[int] = []
        self._heard_number = 0
        self.connections: list[Connection] = []
        self.writers: list[Connection] = []
        self.totals = Totals()
        self.deliveries = Latencies()
        self.acks = Latencies()
        self._connect_ns: list[int] = []

    # Opening.

    def seat(self, seats: Iterable[Seat]) -> list[Connection]:
        """Add clients; they are not connected yet."""
        added = [Connection(seat) for seat in seats]
        for connection in added:
            if connection.seat.writes:
                connection.template = self._dialect.send(connection.seat.writes, self._body_bytes)
                self.writers.append(connection)
        self.connections += added
        return added

    def open(self, connections: list[Connection], at_once: int, deadline_ns: int) -> Histogram:
        """Connect clients, up to `at_once` at a time, until all are ready or the deadline.

        Returns how long each took from the first system call to the last answer; its total is how many are ready.
        """
        waiting = iter(connections)
        left = len(connections)
        self._opening = 0
        self._connect_ns = []
        while (left or self._opening) and now_ns() < deadline_ns:
            while left and self._opening < at_once:
                self._begin(next(waiting))
                left -= 1
            self._turn(deadline_ns)
        connects = Histogram()
        connects.add(np.array(self._connect_ns, np.int64))
        return connects

    def _begin(self, connection: Connection) -> None:
        """Begin to connect. Past what one address has ports for, further loopback addresses are used."""
        count = len(self._by_fd)
        address = self._addresses[connection.seat.node % len(self._addresses)]
        source = ""
        if address[0].startswith("127.") and (self._number or count >= _PORTS_PER_SOURCE):
            source = f"127.0.{1 + self._number}.{1 + count // _PORTS_PER_SOURCE}"
        fd = connection.open(address, source)
        connection.stopped = False
        connection.began_ns = now_ns()
        self._by_fd[fd] = connection
        self._epoll.register(fd, select.EPOLLOUT)
        self._opening += 1

    def _advance(self, connection: Connection, data: bytes, stamp: bytes) -> None:
        """Move a connection along that waits for the response to its upgrade; greet when it is there."""
        if connection.stage is Stage.UPGRADING:
            data = connection.rest + data
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                connection.rest = head
                return
            connection.rest = b""
            if not is_upgraded(head, self._dialect.compress):
                self.totals.errors["no upgrade as asked: " + head.partition(b"\r\n")[0].decode("latin-1")] += 1
                self._lost(connection)
                return
            seat = connection.seat
            cursors = {seat.reads: seat.cursor} if seat.cursor else {}
            if connection.watcher and connection.watcher.has_subscribed:
                # These channels have no places: such a cursor only subscribes again.
                cursors = {f"presence:{user}": ("-", 0) for user in seat.watches}
            connection.stage = Stage.GREETING
            self._send(connection, self._dialect.greeting(seat.token, cursors))
        if data:
            self._take(connection, data, stamp)

    def _greeted(self, connection: Connection, answer: int, payload: bytes) -> None:
        """Handle the answer to a command of the greeting."""
        seat = connection.seat
        if connection.stage is Stage.READY:
            return
        place = self._dialect.place(payload, seat.reads) if seat.reads else None
        if place:
            connection.stand(place.epoch, place.seq)
            if not place.recovered and seat.cursor:
                self.totals.errors["a cursor was not recovered"] += 1
        if answer == HELLO_ID and seat.subscribes and seat.cursor is None:
            connection.stage = Stage.SUBSCRIBING
            self._send(connection, self._dialect.subscribe([seat.reads]))
        elif answer in (HELLO_ID, SUBSCRIBE_ID):
            self._ready(connection)

    def _ready(self, connection: Connection) -> None:
        connection.stage = Stage.READY
        self._opening -= 1
        self._connect_ns.append(now_ns() - connection.began_ns)

    def _watch(self, connection: Connection, watcher: Watcher, said: Mapping[str, Any]) -> None:
        """Handle what is said to a client that watches users: subscribe, then ask for the states, then follow."""
        users = connection.seat.watches
        match said["type"]:
            case "connected" if not watcher.has_subscribed:
                connection.stage = Stage.SUBSCRIBING
                self._send(connection, self._dialect.subscribe([f"presence:{user}" for user in users]))
            case "connected":
                self._send(connection, self._dialect.ask_states(users))
            case "subscribed":
                watcher.left -= 1
                if not watcher.left:
                    watcher.has_subscribed = True
                    self._send(connection, self._dialect.ask_states(users))
            case "presence":
                watcher.answered(said["users"])
                self._ready(connection)
            case "presence_changed":
                watcher.changed(said)
            case "error":
                self.totals.errors[str({name: said[name] for name in ("code", "reason")})] += 1

    # Load.

    def load(self, pace: Pace, start_ns: int, seconds: float) -> None:
        """Let the writers write from `start_ns` on for so long, while everybody reads."""
        end_ns = start_ns + int(seconds * 1e9)
        self._in_flight = pace.in_flight
        self.rest_until(start_ns)
        if pace.in_flight:
            for writer in self.writers:
                self._publish(writer, pace.in_flight, now_ns())
        now = now_ns()
        for due, writer in schedule(pace, self.writers, start_ns):
            while now < min(due, end_ns):
                self._turn(min(due, end_ns))
                now = now_ns()
            if now >= end_ns:
                break
            self._publish(writer, 1, due)
        self.rest_until(end_ns)
        self._in_flight = 0

    def rest_until(self, until_ns: int) -> None:
        """Read, check and answer pings, and write nothing, until this time."""
        while now_ns() < until_ns:
            self._turn(until_ns)

    def drain(self, sent: dict[str, int], deadline_ns: int) -> int:
        """Read until all that was sent has come and every send is answered, or the deadline; return how many miss."""
        check_ns = 0
        while (now := now_ns()) < deadline_ns:
            if now >= check_ns:
                if not self.missing(sent):
                    break
                check_ns = now + 20_000_000
            self._turn(min(check_ns, deadline_ns))
        self._flush()
        return self.missing(sent)

    def missing(self, sent: dict[str, int]) -> int:
        """Count messages that did not reach their readers, and sends without an answer."""
        unread = sum(connection.unread(sent) for connection in self.connections if not connection.stopped)
        return unread + sum(len(writer.pending) for writer in self.writers)

    def sent(self) -> dict[str, int]:
        """Return how many messages were sent to each channel, or in each numbered stream."""
        return {writer.seat.told: writer.sent for writer in self.writers}

    def checks(self, missing: int) -> Checks:
        """Return what was wrong so far."""
        return Checks(
            missing=missing,
            holes=sum(connection.holes for connection in self.connections),
            repeats=sum(connection.repeats for connection in self.connections),
            errors=self.totals.errors.total(),
            closed=self.totals.closed,
            strays=sum(connection.strays for connection in self.connections),
        )

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._by_fd)

    def forget(self) -> None:
        """Begin new histograms."""
        self._flush()
        self.deliveries = Latencies()
        self.acks = Latencies()

    def stop_reading(self, connections: list[Connection]) -> None:
        """Let some clients stay connected and read no more."""
        for connection in connections:
            connection.stop_reading()
            self._epoll.unregister(connection.fd)  # with an empty mask it would still tell of ends, again and again

    def read_again(self, sent: dict[str, int], deadline_ns: int) -> Stopped:
        """Let those who stopped read what is there for them, until all came to an end or the deadline."""
        slow = [connection for connection in self.connections if connection.stopped and connection.fd >= 0]
        behind = {connection: connection.unread(sent) for connection in slow}
        for connection in slow:
            connection.read_again()
            self._epoll.register(connection.fd, _READ)
        left = slow
        while left and now_ns() < deadline_ns:
            self._turn(min(now_ns() + 20_000_000, deadline_ns))
            left = [one for one in left if one.fd >= 0 and not one.close_code and one.unread(sent)]
        found = Stopped(left=len(left))
        for connection in slow:
            if connection.close_code or connection.fd < 0:
                found.closed[str(connection.close_code or "none")] += 1
            elif connection not in left:
                found.caught_up += 1
                found.messages_behind = max(found.messages_behind, behind[connection])
        return found

    def cut(self, users: Collection[str]) -> None:
        """Cut some clients, who do not come back."""
        self.drop([connection for connection in self.connections if connection.seat.user in users])

    def seen(self, gone: Collection[str]) -> Seen:
        """Return what those who watch users know now."""
        watching = [one.watcher for one in self.connections if one.watcher and one.fd >= 0]
        return sum((watcher.seen(gone) for watcher in watching), Seen())

    def drop(self, connections: list[Connection]) -> None:
        """Close connections without a goodbye, as a lost network does."""
        for connection in connections:
            if connection.fd >= 0:
                del self._by_fd[connection.fd]
            connection.close()
            connection.pending.clear()
            connection.stopped = True

    def close(self) -> None:
        """Close everything."""
        self.drop(self.connections)
        self._epoll.close()

    # The hot loop.

    def _turn(self, until_ns: int) -> None:
        """Wait for events until this time at the longest, and handle those that came."""
        events = self._epoll.poll(0, _EVENTS)
        if not events:
            # epoll waits in whole milliseconds; select on it keeps the pace to some microseconds.
            wait = min(until_ns, self._next_tick) - now_ns()
            if wait > 0:
                select.select((self._epoll,), (), (), wait / 1e9)
            events = self._epoll.poll(0, _EVENTS)
        by_fd = self._by_fd
        piece, first, after, number = self._piece, self._piece_first, self._piece_after, self._piece_number
        arrived, piece_of = self.deliveries.arrived, self.deliveries.piece_of.append
        for fd, mask in events:
            connection = by_fd.get(fd)
            if connection is None:
                continue
            if mask != select.EPOLLIN:
                self._unusual(connection, mask)
                continue
            try:
                data, control, _, _ = connection.receive(_READ_BYTES, CONTROL_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data, control = b"", []
            stamp = stamp_of(control)
            if data == piece and data and first == connection.expected and not connection.rest:
                connection.expected = after
                arrived += stamp
                piece_of(number)
            elif connection.streams and data == self._heard and data and not connection.rest:
                for counter in self._heard_counters:
                    connection.take_of_stream(counter)
                arrived += stamp
                piece_of(self._heard_number)
            else:
                self._received(connection, data, stamp)
                if len(data) == _READ_BYTES:
                    self._read_on(connection)
                piece, first, after, number = self._piece, self._piece_first, self._piece_after, self._piece_number
        if now_ns() >= self._next_tick or len(self.deliveries.piece_of) > _FLUSH_READS:
            self._flush()

    def _take(self, connection: Connection, data: bytes, stamp: bytes) -> None:
        """Check a piece of a stream, message by message, and act on what else is in it."""
        whole = not connection.rest
        if not whole:
            data = connection.rest + data
        if connection.watcher:
            self._take_told(connection, connection.watcher, data)
            return
        scan = self._scan
        scan.clear()
        greets = connection.stage is not Stage.READY
        end = scan.feed(data, bool(connection.pending) or greets, greets)
        connection.rest = data[end:]
        counters = scan.counters
        if counters:
            first, after = counters[0], counters[-1] + 1
            # The lengths first: what lies between two counters may be very much.
            is_run = after - first == len(counters) and counters == list(range(first, after))
            if connection.streams:  # its place is not in `expected`
                for counter in counters:
                    connection.take_of_stream(counter)
            elif is_run:
                connection.take(first, after)
            else:
                for counter in counters:
                    connection.take(counter, counter + 1)
            number = self.deliveries.piece(scan.times)
            self.deliveries.record(stamp, number)
            if whole and end == len(data) < _READ_BYTES and not scan.answers and not scan.others:
                if connection.streams:
                    self._heard, self._heard_counters, self._heard_number = data, counters, number
                elif is_run:
                    self._piece, self._piece_first, self._piece_after, self._piece_number = data, first, after, number
        if scan.answers or scan.errors:
            self._answered(connection, stamp)
        for first_byte, payload in scan.others:
            self._other(connection, first_byte, payload)

    def _take_told(self, connection: Connection, watcher: Watcher, data: bytes) -> None:
        """Take a piece of a stream message by message, in order: what comes later about a user counts."""
        end = 0
        for first, payload, after in frames(data):
            end = after
            if first in self._messages:
                self._watch(connection, watcher, self._dialect.read(first, payload))
            else:
                self._other(connection, first, payload)
        connection.rest = data[end:]

    def _answered(self, connection: Connection, stamp: bytes) -> None:
        """Count acks, and give each writer its next sends in one write."""
        scan = self._scan
        for error in scan.errors:
            self.totals.errors[_without_id(error)] += 1
        acked: list[int] = []
        for answer in scan.answers:
            sent_at = connection.pending.pop(answer, None)
            if sent_at is not None:
                acked.append(sent_at)
            else:
                self._greeted(connection, answer, scan.answer)
        if acked:
            self.acks.record(stamp, self.acks.piece(acked))
            if self._in_flight:
                self._publish(connection, len(acked), now_ns())

    def _publish(self, writer: Connection, count: int, time_ns: int) -> None:
        """Send the writer's next messages in one write; `time_ns` is when they were meant to go."""
        template = writer.template
        if template is None or writer.stage is not Stage.READY:
            return
        stream = writer.seat.stream
        if stream and writer.sent + count > STREAM:
            raise RuntimeError("a stream has no counters left: write for less time")
        counter = stream * STREAM + writer.sent
        numbers = range(counter, counter + count)
        writer.pending.update(dict.fromkeys(numbers, time_ns))
        writer.sent += count
        self._send(writer, template.frames(numbers, time_ns))

    def _send(self, connection: Connection, data: bytes) -> None:
        if not connection.send(data):
            self._epoll.modify(connection.fd, _READ | select.EPOLLOUT)

    def _unusual(self, connection: Connection, mask: int) -> None:
        """Handle the end of connecting, room to write, and ends."""
        if connection.stage is Stage.CONNECTING and mask & select.EPOLLOUT and not mask & select.EPOLLERR:
            connection.stage = Stage.UPGRADING
            self._epoll.modify(connection.fd, _READ)
            self._send(connection, self._requests[connection.seat.node % len(self._requests)])
        elif mask & select.EPOLLOUT and connection.out:
            if connection.send_rest():
                self._epoll.modify(connection.fd, _READ)
        elif mask & select.EPOLLIN:
            self._read_on(connection)
        else:
            self._lost(connection)

    def _read_on(self, connection: Connection) -> None:
        """Read all there is: epoll tells only of what is new."""
        data = b"x" * _READ_BYTES
        while len(data) == _READ_BYTES and connection.fd >= 0:
            try:
                data, control, _, _ = connection.receive(_READ_BYTES, CONTROL_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data, control = b"", []
            self._received(connection, data, stamp_of(control))

    def _received(self, connection: Connection, data: bytes, stamp: bytes) -> None:
        """Take what was read; nothing means that the server is gone."""
        if not data:
            self._lost(connection)
        elif connection.stage >= Stage.GREETING:
            self._take(connection, data, stamp)
        else:
            self._advance(connection, data, stamp)

    def _other(self, connection: Connection, first_byte: int, payload: bytes) -> None:
        """Answer keepalives; count goodbyes."""
        if is_ping(first_byte):
            self._send(connection, pong_frame(payload))
        elif is_close(first_byte):
            code = connection.close_code = int.from_bytes(payload[:2], "big")
            self.totals.closes[f"{code} {payload[2:].decode(errors='replace')}".strip()] += 1
        else:
            reply = self._dialect.reply(payload)
            if reply is not None:
                self._send(connection, reply)

    def _lost(self, connection: Connection) -> None:
        """Note that the server ended a connection."""
        if connection.fd < 0:
            return
        if connection.stage is not Stage.READY:
            self._opening -= 1
        del self._by_fd[connection.fd]
        connection.close()
        if not connection.stopped:
            self.totals.closed += 1

    def _flush(self) -> None:
        """Turn what was recorded into histograms, and tell the listener."""
        delivered = self.deliveries.flush()
        acked = self.acks.flush()
        self._piece = self._heard = b""  # their numbers ended with the flush
        now = now_ns()
        if now >= self._next_tick:
            self._next_tick = now + int(_TICK_SECONDS * 1e9)
        self._tick(delivered, acked)


def _without_id(error: bytes) -> str:
    """Return an error's text without the command's id, so that equal ones are counted together."""
    return _ID.sub("", error.decode(errors="replace"))[:_ERROR_CHARACTERS]
