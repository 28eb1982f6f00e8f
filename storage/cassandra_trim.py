"""Removes messages that a namespace keeps no longer, sparingly.

Age is the business of the rows' time to live. What is left is the count, and messages from before a namespace had a
retention. A channel is looked at when this process first writes to it, and again when it has grown by a quarter of what
is kept: so the work is in proportion to what is written, no table is ever searched through, and a tombstone stands for
many messages. A whole bucket goes as a partition.
"""

from collections import OrderedDict
from dataclasses import dataclass

from protocol.names import ChannelName, Seq
from storage.cassandra_buckets import LAST_BUCKET, Buckets, namespace_of
from storage.cassandra_rows import EXPIRING, KEPT, for_both
from storage.cassandra_session import Session

_END = Seq(2**63 - 1)
CHANNELS = 100_000  # remembered: how much they grew
PAGE_ROWS = 1000
_GROWTH = 4  # a channel is looked at again when it grew by this part of what is kept

_IN = "FROM {table} WHERE channel = ? AND bucket = ?"
_NEWEST = for_both(f"SELECT seq {_IN} LIMIT ?")
_OLDEST = for_both(f"SELECT seq {_IN} AND seq < ? ORDER BY seq ASC LIMIT ?")
_AGES = for_both(f"SELECT seq, at {_IN} AND seq > ? ORDER BY seq ASC LIMIT ?")
_REMOVE = for_both(f"DELETE {_IN} AND seq <= ?")
_REMOVE_ALL = for_both(f"DELETE {_IN}")
_REMOVE_BUCKET = {
    KEPT: "DELETE kept FROM message_buckets WHERE channel = ? AND bucket = ?",
    EXPIRING: "DELETE expiring FROM message_buckets WHERE channel = ? AND bucket = ?",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a namespace is kept."""

    older_than: int | None
    keep: int | None


class Trimmer:
    """Removes step by step from the channels that have grown."""

    def __init__(self, session: Session, buckets: Buckets) -> None:
        self._session = session
        self._buckets = buckets
        self._rules = session.settings.rules
        self._grown: OrderedDict[ChannelName, int] = OrderedDict()  # by how much since they were looked at
        self._seen: OrderedDict[ChannelName, None] = OrderedDict()  # looked at once

    def wrote(self, channel: ChannelName, rows: int) -> None:
        """Note that a channel has grown."""
        if self._rules(namespace_of(channel)).is_trimmed:
            self._grown[channel] = self._grown.get(channel, 0) + rows
            if len(self._grown) > CHANNELS:
                self._grown.popitem(last=False)

    async def trim(self, namespace: str, rule: Rule, limit: int) -> int:
        """Remove up to `limit` messages; 0 when no channel is left that is due."""
        if rule.older_than is None and rule.keep is None:
            return 0
        removed = 0
        for channel in [channel for channel in self._grown if namespace_of(channel) == namespace]:
            if not self._is_due(channel, rule):
                continue
            count = await self._trim(channel, rule, limit - removed)
            removed += count
            if removed >= limit:
                return removed  # the channel may have more: it stays due
            self._grown.pop(channel, None)
            self._seen[channel] = None
            if len(self._seen) > CHANNELS:
                self._seen.popitem(last=False)
        return removed

    def _is_due(self, channel: ChannelName, rule: Rule) -> bool:
        if channel not in self._seen:
            return True
        return rule.keep is not None and self._grown[channel] * _GROWTH >= rule.keep

    async def _trim(self, channel: ChannelName, rule: Rule, limit: int) -> int:
        """Remove up to `limit` of a channel's oldest messages."""
        floor = await self._floor(channel, rule)
        width = await self._buckets.width(channel)
        removed = 0
        above = 0
        while buckets := await self._buckets.oldest(channel, above):
            for bucket in buckets:
                if bucket.number * width >= floor:
                    return removed
                for table in bucket.tables:
                    is_whole = (bucket.number + 1) * width <= floor
                    removed += await self._remove(channel, bucket.number, table, floor, limit - removed, is_whole)
                    if removed >= limit:
                        return removed
            above = buckets[-1].number + 1
        return removed

    async def _remove(
        self, channel: ChannelName, bucket: int, table: str, floor: Seq, limit: int, is_whole: bool
    ) -> int:
        """Remove the oldest messages of one partition, all before `floor`; return how many."""
        session = self._session
        rows = await session.read(_OLDEST[table], (channel, bucket, floor, limit))
        if is_whole and len(rows) < limit:
            self._buckets.forget(channel, bucket, table)
            await session.write(_REMOVE_ALL[table], (channel, bucket))
            await session.write(_REMOVE_BUCKET[table], (channel, bucket))
        elif rows:
            await session.write(_REMOVE[table], (channel, bucket, rows[-1][0]))
        return len(rows)

    async def _floor(self, channel: ChannelName, rule: Rule) -> Seq:
        """Return the first seq that stays: no later than the newest message's."""
        newest = await self._newest(channel, max(rule.keep or 1, 1))
        if not newest:
            return Seq(0)
        floor = Seq(0)
        if rule.keep is not None and len(newest) >= rule.keep:
            floor = newest[-1]
        if rule.older_than is not None:
            floor = max(floor, min(await self._first_young(channel, rule.older_than), newest[0]))
        return floor

    async def _newest(self, channel: ChannelName, count: int) -> list[Seq]:
        """Read the seqs of the newest messages, the newest first."""
        found: list[Seq] = []
        below = LAST_BUCKET
        while len(found) < count and (buckets := await self._buckets.newest(channel, below)):
            for bucket in buckets:
                seqs: list[Seq] = []
                for table in bucket.tables:
                    rows = await self._session.read(_NEWEST[table], (channel, bucket.number, count - len(found)))
                    seqs += [seq for (seq,) in rows]
                found += sorted(seqs, reverse=True)[: count - len(found)]
                if len(found) >= count:
                    break
            below = buckets[-1].number - 1
        return found

    async def _first_young(self, channel: ChannelName, older_than: int) -> Seq:
        """Return the seq of the first message that is not too old. Rows with a time to live go by themselves."""
        above = 0
        while buckets := await self._buckets.oldest(channel, above):
            for bucket in buckets:
                if not bucket.kept:
                    return Seq(0)
                after = -1
                while rows := await self._session.read(_AGES[KEPT], (channel, bucket.number, after, PAGE_ROWS)):
                    for seq, at in rows:
                        if at is not None and at >= older_than:
                            return Seq(seq)
                    after = rows[-1][0]
            above = buckets[-1].number + 1
        return _END
