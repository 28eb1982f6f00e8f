"""Reads messages of a channel, from bucket to bucket, and writes their later versions."""

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice

import msgspec

from protocol.names import ChannelName, Seq, UserId
from storage import StoreError
from storage import cassandra_rows as rows_of
from storage.cassandra_buckets import LAST_BUCKET, PAGE_BUCKETS, Bucket, Buckets, namespace_of
from storage.cassandra_rows import EXPIRING, KEPT, for_both, sender_key, time_left
from storage.cassandra_session import Session
from storage.message_rows import COLUMNS, message_of
from storage.records import Place, StoredMessage

PAGE_ROWS = 1000  # read from one partition at once
HEADS_AT_ONCE = 50  # channels whose newest message one question asks for
_FIRST_PAGE_BUCKETS = 2  # of the index, for a page of history: few pages need more
_END = 2**63 - 1
_EPOCH, _SEQ = 1, 2  # in a row of COLUMNS; a row without an epoch is what a revision left of a removed message


_IN = "FROM {table} WHERE channel = ? AND bucket = ?"
_DOWN = for_both(f"SELECT {COLUMNS} {_IN} AND seq > ? AND seq < ? LIMIT ?")
_UP = for_both(f"SELECT {COLUMNS} {_IN} AND seq > ? AND seq < ? ORDER BY seq ASC LIMIT ?")
_ONE = for_both(f"SELECT {COLUMNS} {_IN} AND seq = ?")
_HEAD = for_both(f"SELECT epoch, seq, at {_IN} LIMIT 1")
_HEADS = for_both("SELECT channel, epoch, seq, at FROM {table} WHERE channel IN ? AND bucket = ? PER PARTITION LIMIT 1")
_NEWEST_BUCKETS = "SELECT channel, bucket, kept, expiring FROM message_buckets WHERE channel IN ? PER PARTITION LIMIT 1"
_FIND = "SELECT channel, bucket, seq, expiring FROM message_keys WHERE sender_key = ?"


class Messages:
    """Reads history. What it returns was there when it was asked, or came while it was."""

    def __init__(self, session: Session, buckets: Buckets) -> None:
        self._session = session
        self._buckets = buckets

    async def prepare(self) -> None:
        """Prepare what a page of history needs."""
        for query in (*_DOWN.values(), *_UP.values(), *_HEAD.values()):
            await self._session.prepare(query)

    # Where a channel ends.

    async def head(self, channel: ChannelName) -> Place | None:
        """Read the place of the channel's newest message."""
        below = LAST_BUCKET
        while buckets := await self._buckets.newest(channel, below):
            for bucket in buckets:
                places = [place for table in bucket.tables if (place := await self._head_of(channel, bucket, table))]
                if places:
                    return max(places, key=lambda place: place.seq)
            below = buckets[-1].number - 1
        return None

    async def _head_of(self, channel: ChannelName, bucket: Bucket, table: str) -> Place | None:
        for epoch, seq, at in await self._session.read(_HEAD[table], (channel, bucket.number)):
            if epoch is not None:
                return Place(epoch, seq, at)
        return None

    async def heads(self, channels: Sequence[ChannelName]) -> dict[ChannelName, Place]:
        """Read the newest places of some channels, at most HEADS_AT_ONCE; those without messages are left out."""
        of_partition: dict[tuple[int, str], list[ChannelName]] = {}
        found: dict[ChannelName, Place] = {}
        rest: list[ChannelName] = []  # those that need another look
        for channel, *row in await self._session.read(_NEWEST_BUCKETS, (list(channels),)):
            bucket = Bucket(*row)
            if len(bucket.tables) == 1:
                of_partition.setdefault((bucket.number, bucket.tables[0]), []).append(channel)
            else:
                rest.append(channel)
        for (number, table), its in of_partition.items():
            for channel, epoch, seq, at in await self._session.read(_HEADS[table], (its, number)):
                if epoch is not None:
                    found[channel] = Place(epoch, seq, at)
            rest += [channel for channel in its if channel not in found]  # trimmed, or expired
        for channel in rest:
            if (place := await self.head(channel)) is not None:
                found[channel] = place
        return found

    # Pages.

    async def before(self, channel: ChannelName, before: Seq | None, limit: int) -> list[StoredMessage]:
        """Read the last messages before a seq (None: the last ones of all), in rising seq."""
        width = await self._buckets.width(channel)
        end = _END if before is None else before
        below = LAST_BUCKET if before is None else max(before - 1, 0) // width
        size = _FIRST_PAGE_BUCKETS
        found: list[StoredMessage] = []
        while len(found) < limit and (buckets := await self._buckets.newest(channel, below, size)):
            for bucket in buckets:
                if len(found) < limit:
                    found += await self._down(channel, bucket, end, limit - len(found))
            below = buckets[-1].number - 1
            size = PAGE_BUCKETS
        found.reverse()
        return found

    async def _down(self, channel: ChannelName, bucket: Bucket, end: int, limit: int) -> list[StoredMessage]:
        """Read the last messages of a bucket, the newest first."""
        pages = [await self._pages(_DOWN[table], channel, bucket.number, -1, end, limit) for table in bucket.tables]
        return list(islice(_joined(pages, newest_first=True), limit))

    async def after(self, channel: ChannelName, after: Seq, before: Seq | None, limit: int) -> list[StoredMessage]:
        """Read the first messages after a seq (and before another), in rising seq."""
        width = await self._buckets.width(channel)
        end = _END if before is None else before
        above = max(after + 1, 0) // width
        size = _FIRST_PAGE_BUCKETS
        found: list[StoredMessage] = []
        while len(found) < limit and above * width < end:
            buckets = await self._buckets.oldest(channel, above, size)
            if not buckets:
                break
            for bucket in buckets:
                if len(found) < limit and bucket.number * width < end:
                    found += await self._up(channel, bucket, after, end, limit - len(found))
            above = buckets[-1].number + 1
            size = PAGE_BUCKETS
        return found

    async def _up(self, channel: ChannelName, bucket: Bucket, after: int, end: int, limit: int) -> list[StoredMessage]:
        """Read the first messages of a bucket."""
        pages = [await self._pages(_UP[table], channel, bucket.number, after, end, limit) for table in bucket.tables]
        return list(islice(_joined(pages, newest_first=False), limit))

    async def _pages(
        self, query: str, channel: ChannelName, bucket: int, after: int, end: int, limit: int
    ) -> list[StoredMessage]:
        """Read from one partition, a bounded number of rows at once."""
        found: list[StoredMessage] = []
        while True:
            size = min(limit - len(found), PAGE_ROWS)
            rows = await self._session.read(query, (channel, bucket, after, end, size))
            found += [message_of(row) for row in rows if row[_EPOCH] is not None]
            if len(rows) < size or len(found) >= limit:
                return found
            if query in _UP.values():
                after = rows[-1][_SEQ]
            else:
                end = rows[-1][_SEQ]

    # One message.

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Read the newest message of this sender with this key, of those written after `since`.

        A key without its message is of a write that was not finished, or of a message that is gone.
        """
        found: list[StoredMessage] = []
        for channel, bucket, seq, expiring in await self._session.read(_FIND, (sender_key(sender, key),)):
            table = EXPIRING if expiring else KEPT
            message = await self._one(table, channel, bucket, seq)
            if message is not None and (message.sender, message.key) == (sender, key) and message.at > since:
                found.append(message)
        return max(found, key=lambda message: (message.at, message.seq), default=None)

    async def _one(self, table: str, channel: ChannelName, bucket: int, seq: Seq) -> StoredMessage | None:
        for row in await self._session.read(_ONE[table], (channel, bucket, seq)):
            if row[_EPOCH] is not None:
                return message_of(row)
        return None

    async def revise(self, message: StoredMessage) -> None:
        """Write a later version of a message where it is; nothing where it is not, or where a later one is."""
        at = message.revised_at
        if at is None:
            raise StoreError("a revision has its time")
        bucket = message.seq // await self._buckets.width(message.channel)
        for table in (KEPT, EXPIRING):
            kept = await self._one(table, message.channel, bucket, message.seq)
            if kept is None or kept.epoch != message.epoch or (kept.revised_at or 0) > at:
                continue
            seconds = 0
            if table is EXPIRING:
                retention = self._session.settings.rules(namespace_of(message.channel)).retention_seconds
                seconds = time_left(retention, kept.at) if retention else 0
            values = rows_of.revision(msgspec.structs.replace(message, at=kept.at), bucket, at, seconds)
            await self._session.write(rows_of.REVISE[table], values)


def _joined(pages: Sequence[list[StoredMessage]], *, newest_first: bool) -> Iterable[StoredMessage]:
    """Join what two tables have of one bucket."""
    if len(pages) == 1:
        return pages[0]
    return merge(*pages, key=lambda message: message.seq, reverse=newest_first)
