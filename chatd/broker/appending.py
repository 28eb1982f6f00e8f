"""The way of a draft through Redis and the store.

    append.lua     numbered, written ahead, kept and sent out, in one step
    store          a durable message is written; many that were placed together are one write
    XDEL           it is taken off the write-ahead stream
    posts          in a member channel, the nodes of its members get it
    answer

What a crash between two of them costs: the message stays in the write-ahead stream, and another node goes on from there
(chatd/broker/leftovers.py). Nothing here waits: answers of Redis and of the store come as calls.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog
import trio

from chatd.broker import RETRY_SECONDS, Draft, Published, Refused, Routed
from chatd.broker.alone import Alone
from chatd.broker.batch import NOT_SENT, Batch
from chatd.broker.heads import Head, Heads
from chatd.broker.keys import Keys, known_key
from chatd.broker.log import Log
from chatd.broker.record import content_of, read_id, read_record
from chatd.broker.saver import Saver
from chatd.config import Config
from chatd.counters import Latency
from chatd.groups import MEMBERS_KIND
from chatd.redis import RedisUnavailable
from chatd.redis.packing import BLANK, Argument, pack
from chatd.redis.scripts import Script, is_unknown_script
from chatd.redis.servers import Servers
from protocol.codes import ErrorCode
from protocol.names import Seq
from storage import Store, StoreBusy, StoreError
from storage.records import Place, StoredMessage

_APPEND = Script("append", keys=4)

# Newest messages of a durable channel that its log keeps: they bring back who was away for a moment, and fill holes.
DURABLE_RECENT = 64

KEY_REUSED = Refused(ErrorCode.KEY_REUSED, "this key was used for a message of another channel")

_MEMBERS_CHANGED = 1
_NOT_STORED = Refused(ErrorCode.UNAVAILABLE, "the store cannot take it now", RETRY_SECONDS)
_MEMBERS = Refused(ErrorCode.UNAVAILABLE, "the members have just changed", 0.05)

_log = structlog.get_logger("broker")

OnPlaced = Callable[[Sequence[tuple[StoredMessage, Routed]]], None]
"""Takes messages that this node placed, when each is as durable as its namespace says. Never waits."""


class Append:
    """One draft under way."""

    __slots__ = ("batch", "draft", "head", "index", "is_first", "is_known", "owner")

    def __init__(self, owner: "Appender", batch: Batch | Alone, index: int, head: Head) -> None:
        self.owner = owner
        self.batch = batch
        self.index = index
        self.head = head
        self.draft = batch.drafts[index]
        self.is_first = index not in batch.sent  # no earlier try may have placed it
        self.is_known = False

    def done(self, reply: object) -> None:
        """Take the answer of the script."""
        match reply:
            case bytes():
                self.owner.placed(self, reply)
            case list():
                self.owner.known(self, reply)
            case None:
                self.owner.heads.forget(self.head.channel)
                self.batch.retry(self.index)
            case int() if reply == _MEMBERS_CHANGED:
                self.owner.on_members_changed(self.draft)
                self.batch.answer(self.index, _MEMBERS)
            case RedisUnavailable():
                self.batch.retry(self.index, may_be_placed=reply.ran is not False)
            case Exception() if is_unknown_script(reply):
                self.owner.load_again(self.head.shard)
                self.batch.retry(self.index)
            case _:
                _log.error("redis refuses to append", error=str(reply))
                self.batch.answer(self.index, NOT_SENT)

    def published(self, place: Place) -> None:
        """Answer with the place."""
        self.batch.answer(self.index, Published(place, self.is_known))


Row = tuple[Append | None, StoredMessage, Routed, Head, bytes]
"""A durable message on its way into the store: who waits for it, and its entry in the write-ahead stream."""


class Write:
    """Messages that the store is writing together."""

    __slots__ = ("rows", "runs", "started")

    def __init__(self, rows: Sequence[Row], runs: Mapping[int, str], started: float) -> None:
        self.rows = rows
        self.runs = runs  # by shard, the process of the Redis server that placed them
        self.started = started  # on trio's clock


Post = Callable[[Sequence[Row]], None]
"""Takes stored messages of member channels to the nodes of their members, then takes them off. Never waits."""


class Appender:
    """Sends drafts to Redis, and what was placed to the store. All methods return at once."""

    def __init__(
        self, servers: Servers, store: Store, config: Config, heads: Heads, saver: Saver, latency: Latency
    ) -> None:
        self.heads = heads
        self.keys = Keys(config.broker.dedupe_keys)
        self.on_placed: OnPlaced = lambda _: None
        self.post: Post | None = None
        self.on_numbered: Callable[[StoredMessage, Draft], None] = lambda _message, _draft: None
        """Takes each message of a subscribed channel that this node placed, as soon as it has its place."""
        self.under_way: set[tuple[int, bytes]] = set()  # entries of write-ahead streams that this node works on
        self.writes: set[Write] = set()  # that the store has not answered
        self.on_members_changed: Callable[[Draft], None] = lambda _: None
        self.members_version: Callable[[Draft], str | None] = lambda _: None
        """Returns which version of the members a draft's audience is; None where members cannot change."""
        self.published = 0
        self.duplicates = 0
        self.waiting = 0
        self.latency = latency
        self._servers = servers
        self._store = store
        self._saver = saver
        self._recent = config.broker.recent_messages
        self._dedupe_ms = config.broker.dedupe_seconds * 1000
        self._rows: list[Row] = []
        self._most_unstored = config.broker.unstored_messages
        self._unstored = 0  # placed here and not taken by the store, since it last took something
        self._try_again_at = 0.0  # on trio's clock: then one more is placed, to see whether the store is back
        servers.on_answers.append(self.flush)
        servers.load(_APPEND)

    # To Redis.

    @property
    def is_full(self) -> bool:
        """Whether so much waits in Redis for a store that takes nothing that durable messages are refused."""
        return self._unstored >= self._most_unstored

    def send(self, append: Append, now: float) -> None:
        """Send one draft; its batch gets the answer, at once if it `is_full`. `now` is trio's time."""
        head, draft = append.head, append.draft
        append.batch.begin(append.index)
        if self.is_full and head.namespace.history == "durable":
            if now < self._try_again_at:
                append.batch.answer(append.index, _NOT_STORED)
                return
            self._try_again_at = now + RETRY_SECONDS
        if head.namespace.delivery == "subscribed" and now < head.refresh_at:
            command = self._short_command(head, draft)
        else:
            command = self._command(head, draft, now)
        try:
            self._servers.send(head.shard, command, append.done)
        except RedisUnavailable:
            append.batch.retry(append.index)

    def _command(self, head: Head, draft: Draft, now: float) -> bytes:
        flags = "d" if head.namespace.history == "durable" else ""
        version = None
        if head.namespace.delivery == "subscribed":
            flags += "p"
        elif draft.kind == MEMBERS_KIND:
            flags += "m"
        elif (version := self.members_version(draft)) is not None:
            flags += "v"
        keep = self.heads.keep_seconds(head, now)
        return _APPEND.command(
            self._arguments(head, self._key(head, draft), content_of(draft), flags, keep, version or "")
        )

    def _short_command(self, head: Head, draft: Draft) -> bytes:
        """Return what `_command` does in a subscribed channel, of which two words differ from one to the next."""
        template = head.template
        if template is None:
            flags = "dp" if head.namespace.history == "durable" else "p"
            template = head.template = _APPEND.template(self._arguments(head, BLANK, BLANK, flags, 0, ""))
        return template.fill(self._key(head, draft).encode(), content_of(draft))

    def _key(self, head: Head, draft: Draft) -> str:
        return f"{head.tag}key:{draft.sender} {draft.key}"

    def _arguments(
        self, head: Head, key: str, content: Argument, flags: str, keep: int, version: str
    ) -> tuple[Argument, ...]:
        """Return the script's KEYS and ARGV, in their order."""
        kept = {"durable": DURABLE_RECENT, "recent": self._recent, "none": 0}[head.namespace.history]
        return (
            *(head.key, key, head.wal, head.version_key),
            *(head.number, content, kept, flags, head.channel, self._dedupe_ms, keep, version),
        )

    def load_again(self, shard: int) -> None:
        """Let a server know the script that has forgotten it."""
        self._servers.load_again(shard, _APPEND)

    # From Redis.

    def placed(self, append: Append, reply: bytes) -> None:
        """Take a draft that got its place: "EPOCH-SEQ AT WAL"."""
        stands, at, wal = reply.split(b" ")
        epoch, seq = read_id(stands)
        draft = append.draft
        message = draft.placed(epoch, seq, int(at))
        self.published += 1
        if append.head.namespace.delivery == "subscribed":
            self.on_numbered(message, draft)
        self._go_on(append, message, draft, wal)

    def known(self, append: Append, reply: list[bytes | None]) -> None:
        """Take a draft whose key is known: "EPOCH-SEQ AT WAL CHANNEL", and the record if it may not be stored yet."""
        known, record = reply
        assert known is not None
        stands, at, wal, channel = known.split(b" ", 3)
        if channel.decode() != append.draft.channel:
            append.batch.answer(append.index, KEY_REUSED)
            return
        append.is_known = append.is_first
        if append.is_first:
            self.duplicates += 1
        else:
            self.published += 1
        if record is not None:
            message, _ = read_record(append.draft.channel, record)
            self._rows.append((append, message, append.draft, append.head, wal))
            return
        epoch, seq = read_id(stands)
        place = Place(epoch, seq, int(at))
        if not append.is_first and append.head.namespace.history != "durable":
            self._placed_before(append, place)
        self._remember(append.draft, place)
        append.published(place)

    def _placed_before(self, append: Append, place: Place) -> None:
        """Go on with what an earlier try of this node placed, whose answer was lost: later ones may be done already."""
        draft, namespace = append.draft, append.head.namespace
        message = draft.placed(place.epoch, place.seq, place.at)
        if namespace.history == "recent":
            alone = Log(draft.channel, namespace, place.epoch, Seq(place.seq - 1), 1)
            alone.arrived(message)
            self._saver.add(alone)
        self.on_placed(((message, draft),))

    def _go_on(self, append: Append, message: StoredMessage, draft: Draft, wal: bytes) -> None:
        head = append.head
        if head.namespace.history == "durable":
            self._rows.append((append, message, draft, head, wal))
            return
        if head.namespace.history == "recent":
            if head.unsaved is None:
                head.unsaved = Log(head.channel, head.namespace, message.epoch, message.seq, self._recent)
                head.unsaved.saved = type(message.seq)(message.seq - 1)
            head.unsaved.arrived(message)
            self._saver.add(head.unsaved)
        self._remember(draft, message.place)
        self.on_placed(((message, draft),))
        append.published(message.place)

    # Through the store.

    def finish(self, rows: Sequence[Row]) -> None:
        """Go on with what another node left, or with what the store did not take."""
        self._rows += rows
        self.flush()

    def flush(self) -> None:
        """Give the store what one read of answers brought."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        self.waiting += len(rows)
        for _, _, _, head, wal in rows:
            self.under_way.add((head.shard, wal))
        runs = {shard: self._servers.line(shard).run_id for shard in {row[3].shard for row in rows}}
        write = Write(rows, runs, trio.current_time())
        self.writes.add(write)
        try:
            self._store.submit([row[1] for row in rows], partial(self._stored, write))
        except StoreError as error:
            self._stored(write, error)

    def _stored(self, write: Write, error: Exception | None) -> None:
        self.writes.discard(write)
        rows = write.rows
        self.waiting -= len(rows)
        if error is not None:
            # They stay in the write-ahead stream: whoever looks for leftovers tries again, and a resend does.
            if not isinstance(error, StoreBusy):
                _log.error("store failed", error=str(error), messages=len(rows))
            self.leave(rows)
            for append, *_ in rows:
                if append is not None:
                    self._unstored += not append.is_known  # what is known was counted before
                    append.batch.answer(append.index, _NOT_STORED)
            return
        self._unstored = 0
        self.latency.observe(trio.current_time() - write.started, len(rows))
        posts = [row for row in rows if row[2].audience] if self.post is not None else []
        self.take_off([row for row in rows if not row[2].audience] if posts else rows)
        if posts and self.post is not None:
            self.post(posts)
        self.on_placed([(message, route) for _, message, route, _, _ in rows])
        for append, message, _, _, _ in rows:
            if append is not None:
                self._remember(append.draft, message.place)
                append.published(message.place)

    def take_off(self, rows: Sequence[Row]) -> None:
        """Remove entries from the write-ahead streams; one that stays is found by who looks for leftovers."""
        by_shard: dict[int, tuple[str, list[bytes]]] = {}
        for _, _, _, head, wal in rows:
            by_shard.setdefault(head.shard, (head.wal, []))[1].append(wal)
            self.under_way.discard((head.shard, wal))
        for shard, (key, ids) in by_shard.items():
            try:
                self._servers.send(shard, pack(("XDEL", key, *ids)), _ignore)
            except RedisUnavailable:
                continue

    def leave(self, rows: Sequence[Row]) -> None:
        """Leave entries in the write-ahead streams to whoever looks for leftovers: any node, this one too."""
        for _, _, _, head, wal in rows:
            self.under_way.discard((head.shard, wal))

    def _remember(self, draft: Draft, place: Place) -> None:
        self.keys.put((draft.sender, draft.key), known_key(draft.channel, place))


def _ignore(_: object) -> None:
    """Take the answer to what may fail without harm."""
