"""Finds and removes messages that a namespace no longer keeps.

The search goes from channel to channel by jumps in the index, in a reading thread, so that writers wait only for the
removal itself. A channel's messages are removed from its oldest on: where the clock went backwards between two
messages, the later one stays until the earlier one is too old as well.
"""

import sqlite3
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec

from protocol.names import ChannelName, Seq
from storage.sqlite_reader import Readers
from storage.sqlite_writer import Writer

SCAN_CHANNELS = 5000  # looked at in one read


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a namespace is kept."""

    namespace: str
    older_than: int | None
    keep: int | None


class Candidate(NamedTuple):
    """A channel that has, or may have, messages to remove."""

    channel: ChannelName
    oldest: Seq
    newest: Seq
    oldest_at: int


class Scan(NamedTuple):
    """What one read found, and the last channel it looked at (None: the namespace ends)."""

    candidates: list[Candidate]
    last: ChannelName | None


# Each step of the recursion is one search in the index for the next channel.
_SCAN = """
WITH RECURSIVE names (name) AS (
    SELECT min(channel) FROM messages WHERE channel > :start AND channel < :end
    UNION ALL
    SELECT (SELECT min(channel) FROM messages WHERE channel > name AND channel < :end)
    FROM names WHERE name IS NOT NULL
    LIMIT :channels
)
SELECT json_group_array(json_array(
    name,
    (SELECT seq FROM messages WHERE channel = name ORDER BY seq LIMIT 1),
    (SELECT seq FROM messages WHERE channel = name ORDER BY seq DESC LIMIT 1),
    (SELECT at FROM messages WHERE channel = name ORDER BY seq LIMIT 1)
)) FROM names WHERE name IS NOT NULL
"""

_decode_scan = msgspec.json.Decoder(list[Candidate]).decode

# The oldest messages of the channel, as far as they are too old.
_YOUNG = """
SELECT seq FROM (SELECT seq, at FROM messages WHERE channel = ? ORDER BY seq LIMIT ?)
WHERE at >= ? ORDER BY seq LIMIT 1
"""
_KEPT = "SELECT seq FROM messages WHERE channel = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
_REMOVE = """
DELETE FROM messages WHERE rowid IN (
    SELECT rowid FROM messages WHERE channel = ? AND seq < ? ORDER BY seq LIMIT ?
)
"""


class Trimmer:
    """Removes step by step, and remembers for each namespace where the next step goes on."""

    def __init__(self, readers: Readers, writer: Writer) -> None:
        self._readers = readers
        self._writer = writer
        self._finished: dict[str, ChannelName] = {}  # by namespace: the last channel with nothing more to remove

    async def trim(self, rule: Rule, limit: int) -> int:
        """Remove up to `limit` messages; 0 only after all channels were looked at."""
        start = self._finished.pop(rule.namespace, None)
        removed, last = await self._walk(rule, start, limit)
        if removed == 0 and start is not None:
            removed, last = await self._walk(rule, None, limit)
        if last is not None:
            self._finished[rule.namespace] = last
        return removed

    async def _walk(self, rule: Rule, start: ChannelName | None, limit: int) -> tuple[int, ChannelName | None]:
        """Trim the channels after `start`; tell the last finished one if `limit` was reached, None at the end."""
        removed = 0
        while True:
            found = await self._readers.run(partial(scan, rule=rule, start=start))
            for candidate in found.candidates:
                left = limit - removed
                count = await self._writer.run(partial(remove, candidate=candidate, rule=rule, limit=left))
                removed += count
                if count == left:
                    return removed, start  # the channel may have more
                start = candidate.channel
            if found.last is None:
                return removed, None
            start = found.last


def scan(connection: sqlite3.Connection, rule: Rule, start: ChannelName | None) -> Scan:
    """Look at the namespace's next channels after `start` (None: the first ones)."""
    values = {
        "start": f"{rule.namespace}:" if start is None else start,
        "end": f"{rule.namespace};",  # the character after the colon
        "channels": SCAN_CHANNELS,
    }
    (found,) = connection.execute(_SCAN, values).fetchone()
    channels = _decode_scan(found)
    candidates = [channel for channel in channels if _is_candidate(channel, rule)]
    return Scan(candidates, channels[-1].channel if len(channels) == SCAN_CHANNELS else None)


def _is_candidate(channel: Candidate, rule: Rule) -> bool:
    if channel.oldest == channel.newest:
        return False
    is_old = rule.older_than is not None and channel.oldest_at < rule.older_than
    # Seqs may jump, so there may be fewer messages than this.
    is_long = rule.keep is not None and channel.newest - channel.oldest >= max(rule.keep, 1)
    return is_old or is_long


def remove(connection: sqlite3.Connection, candidate: Candidate, rule: Rule, limit: int) -> int:
    """Remove up to `limit` of a channel's messages, never the newest; return how many."""
    floor = 0  # all before it go
    if rule.older_than is not None:
        young = connection.execute(_YOUNG, (candidate.channel, limit + 1, rule.older_than)).fetchone()
        floor = young[0] if young else candidate.newest
    if rule.keep is not None:
        kept = connection.execute(_KEPT, (candidate.channel, max(rule.keep, 1) - 1)).fetchone()
        floor = max(floor, kept[0] if kept else 0)
    return connection.execute(_REMOVE, (candidate.channel, min(floor, candidate.newest), limit)).rowcount
