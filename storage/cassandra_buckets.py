"""Buckets: the runs of a channel's seqs that are one partition each, and the index of those that have messages.

A bucket is `seq // width`. The width is a namespace's own, and decided once: by who uses the namespace first, from the
largest body that it allows. So a partition stays under PARTITION_BYTES whatever comes, a seq tells its bucket, and no
clock has a say in where a message is or in what order messages are read.

The index has a row for each bucket that was written to, so that a reader goes from one to the next and never looks into
the empty ones between two epochs. It is written in the batch of the bucket's first messages, and known from then on.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from protocol.names import ChannelName
from storage.cassandra_rows import EXPIRING, KEPT, MOST_SECONDS
from storage.cassandra_session import Session
from storage.cassandra_settings import DAY_SECONDS, NamespaceRule

PARTITION_BYTES = 100 * 1024 * 1024
ROW_BYTES = 1024  # of a message besides its body, with its key: generous
MOST_ROWS = 4096
PAGE_BUCKETS = 16  # read from the index at once
KNOWN_BUCKETS = 200_000  # remembered to be in the index, as many as the broker has channels

_WIDTH = "SELECT width FROM message_widths WHERE namespace = ?"
_DECIDE = "INSERT INTO message_widths (namespace, width) VALUES (?, ?) IF NOT EXISTS"
_NEWEST = "SELECT bucket, kept, expiring FROM message_buckets WHERE channel = ? AND bucket <= ? LIMIT ?"
_OLDEST = """
SELECT bucket, kept, expiring FROM message_buckets WHERE channel = ? AND bucket >= ? ORDER BY bucket ASC LIMIT ?
"""

LAST_BUCKET = 2**62


class Bucket(NamedTuple):
    """A bucket that has messages, and in which tables."""

    number: int
    kept: bool | None
    expiring: bool | None

    @property
    def tables(self) -> list[str]:
        """The tables that have a partition of it: both, when retention began or ended in its time."""
        return [table for table, has in ((KEPT, self.kept), (EXPIRING, self.expiring)) if has]


def namespace_of(channel: ChannelName) -> str:
    """Return the part of a channel's name before the colon."""
    return channel.partition(":")[0]


def width_for(data_bytes: int) -> int:
    """Return how many messages of this size fit a partition: a power of two, so that a change is rare."""
    width = MOST_ROWS
    while width > 1 and width * (data_bytes + ROW_BYTES) > PARTITION_BYTES:
        width //= 2
    return width


class Buckets:
    """Knows the widths of namespaces, and which buckets are in the index."""

    def __init__(self, session: Session, rules: Callable[[str], NamespaceRule]) -> None:
        self._session = session
        self._rules = rules
        self.widths: dict[str, int] = {}
        self._noted: OrderedDict[tuple[ChannelName, int, str], float] = OrderedDict()

    async def width(self, channel: ChannelName) -> int:
        """Return how many seqs a bucket of this channel has."""
        namespace = namespace_of(channel)
        width = self.widths.get(namespace)
        if width is None:
            width = self.widths[namespace] = await self._decide(namespace)
        return width

    async def _decide(self, namespace: str) -> int:
        rows = await self._session.read(_WIDTH, (namespace,))
        if rows:
            return int(rows[0][0])
        width = width_for(self._rules(namespace).data_bytes)
        applied, *kept = await self._session.change(_DECIDE, (namespace, width))
        return width if applied else int(kept[1])

    # Writing the index.

    def seconds_to_note(self, channel: ChannelName, number: int, table: str, retention_seconds: int) -> int | None:
        """Return how long the bucket's row has to live (0: for ever), or None if the index has it for long enough.

        The row outlives the messages; it is written again when a quarter of their time has gone.
        """
        noted = self._noted.get((channel, number, table))
        if not retention_seconds:
            return None if noted is not None else 0
        if noted is not None and time.monotonic() - noted < retention_seconds / 4:
            return None
        return min(retention_seconds + retention_seconds // 2 + DAY_SECONDS, MOST_SECONDS)

    def note(self, channel: ChannelName, number: int, table: str) -> None:
        """Remember that the index has the bucket, if it was not known."""
        place = (channel, number, table)
        if place not in self._noted:
            self._noted[place] = time.monotonic()
            if len(self._noted) > KNOWN_BUCKETS:
                self._noted.popitem(last=False)

    def forget(self, channel: ChannelName, number: int, table: str) -> None:
        """Forget that the index has the bucket: it is about to be removed, or to be written again."""
        self._noted.pop((channel, number, table), None)

    # Reading the index.

    async def newest(self, channel: ChannelName, below: int = LAST_BUCKET, limit: int = PAGE_BUCKETS) -> list[Bucket]:
        """Return the buckets up to `below`, the newest first."""
        return [Bucket(*row) for row in await self._session.read(_NEWEST, (channel, below, limit))]

    async def oldest(self, channel: ChannelName, above: int = 0, limit: int = PAGE_BUCKETS) -> list[Bucket]:
        """Return the buckets from `above` on, the oldest first."""
        return [Bucket(*row) for row in await self._session.read(_OLDEST, (channel, above, limit))]
