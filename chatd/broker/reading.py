"""Answers readers: what came after a cursor, and pages of history, from this node's memory, the log and the store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatd.broker import Recovery
from chatd.broker.feeds import Feeds, Hearing
from chatd.broker.heads import Head, Heads
from chatd.broker.missed import Missed
from chatd.redis import RedisError
from protocol.names import Epoch, Seq
from storage import Store, StoreUnavailable
from storage.records import StoredMessage

# How often recovering reads on before it gives up on a channel that is written to faster.
_ROUNDS = 8

# More than any log has.
_LOG = 10_000

Join = Callable[[], None]
Cursor = tuple[Epoch, Seq]


@contextmanager
def unavailable() -> Iterator[None]:
    """Let callers, who know stores, know that Redis failed."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(str(error)) from error


class LogReader:
    """Reads on behalf of readers. Raises `RedisError` and `StoreError`."""

    def __init__(self, missed: Missed, store: Store, recent_messages: int) -> None:
        self._missed = missed
        self._store = store
        self._recent_messages = recent_messages

    async def recover(self, head: Head, last: Seq, since: Cursor | None, limit: int, join: Join) -> Recovery:
        """Return what came after a cursor in a member channel, which nobody joins: `last` is where it stood."""
        if since is not None:
            epoch, seq = since
            if epoch != head.epoch or seq < 0 or not 0 <= last - seq <= self._reach(head, limit):
                join()
                return Recovery(head.epoch, last, False, [])
            items, is_whole = await self._missed.since(head, last, since, limit)
            join()
            messages = [message for message, _ in items]
            if not is_whole:
                return Recovery(head.epoch, last, False, [])
            return Recovery(head.epoch, messages[-1].seq if messages else last, True, messages)
        join()
        return Recovery(head.epoch, last, True, [])

    async def join_feed(
        self, feeds: Feeds, heads: Heads, hearing: Hearing, since: Cursor | None, limit: int, join: Join
    ) -> Recovery:
        """Return what came after a cursor in a subscribed channel up to where its feed is, and join there."""
        channel = hearing.feed.channel
        messages: list[StoredMessage] = []
        for _ in range(_ROUNDS):
            await feeds.wait_live(hearing)
            log = hearing.log
            if since is None:
                join()
                return Recovery(log.epoch, log.delivered, True, [])
            # Redis may have been ahead of the feed; that is still to come.
            messages = [message for message in messages if message.seq <= log.delivered]
            seen = messages[-1].seq if messages else since[1]
            head = await heads.open(channel)
            if hearing.ready is not None or hearing.log is not log:
                continue  # the feed went on, or has to be read, while we waited
            reach = self._reach(head, limit) - len(messages)
            if since[0] != log.epoch or since[1] < 0 or not 0 <= log.delivered - seen <= reach:
                break
            rest = log.after(seen)
            if rest is not None:
                join()
                return Recovery(log.epoch, log.delivered, True, messages + rest)
            head, last = await heads.look(channel)
            items, is_whole = await self._missed.since(head, last, (since[0], seen), limit - len(messages))
            if not is_whole or not items or head.epoch != since[0]:
                break
            messages += [message for message, _ in items]
        await feeds.wait_live(hearing)
        log = hearing.log
        join()
        return Recovery(log.epoch, log.delivered, False, [])

    async def page(self, head: Head, *, before: Seq | None, after: Seq | None, limit: int) -> list[StoredMessage]:
        """Read a page in rising seq."""
        match head.namespace.history:
            case "durable":
                return await self._durable_page(head, before, after, limit)
            case "recent":
                return await self._recent_page(head, before, after, limit)
            case "none":
                return []

    async def _durable_page(self, head: Head, before: Seq | None, after: Seq | None, limit: int) -> list[StoredMessage]:
        """Read a page from the store, and from the log what is still on its way there."""
        rows = await self._store.history(head.channel, before=before, after=after, limit=limit)
        if after is not None and len(rows) == limit and rows[-1].seq - rows[0].seq == limit - 1:
            return rows
        start = rows[0].seq - 1 if rows else after if after is not None else Seq(0)
        log = await self._missed.log(head, (head.epoch, Seq(max(0, start))), _LOG)
        found = {row.seq: row for row, _ in log if row.epoch == head.epoch and (before is None or row.seq < before)}
        found |= {row.seq: row for row in rows}
        merged = [found[seq] for seq in sorted(found)]
        return merged[:limit] if after is not None else merged[-limit:]

    async def _recent_page(self, head: Head, before: Seq | None, after: Seq | None, limit: int) -> list[StoredMessage]:
        """Read a page from the log, and what is older than the log from the store."""
        items = await self._missed.log(head, None, _LOG)
        log = [message for message, _ in items]
        oldest = log[0].seq if log else None
        if after is not None:
            here = [message for message in log if message.seq > after][:limit]
            if oldest is None or after < oldest - 1:
                rows = await self._store.history(head.channel, after=after, limit=limit)
                return ([row for row in rows if oldest is None or row.seq < oldest] + here)[:limit]
            return here
        here = [message for message in log if before is None or message.seq < before][-limit:]
        if len(here) == limit or oldest == 1:
            return here
        older_than = oldest if oldest is not None and (before is None or oldest < before) else before
        return await self._store.history(head.channel, before=older_than, limit=limit - len(here)) + here

    def _reach(self, head: Head, limit: int) -> int:
        """Return how many messages a reader may have missed."""
        match head.namespace.history:
            case "durable":
                return limit
            case "recent":
                return min(limit, self._recent_messages)
            case "none":
                return 0
