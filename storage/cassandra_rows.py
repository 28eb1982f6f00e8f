"""Rows of messages: how they are laid out for the wire of Cassandra, and read back.

On the way of a message the driver's own binding (a class for each type, and a check of each value) would cost more than
all the rest, so values are packed here, in the order of the statement's markers.
"""

import math
import time
from struct import Struct
from typing import Any
from zlib import crc32

from protocol.body import Encoding
from protocol.names import ChannelName
from storage.records import StoredMessage

KEPT, EXPIRING = "messages", "messages_expiring"


def for_both(query: str) -> dict[str, str]:
    """Make a query of each of the two tables."""
    return {table: query.format(table=table) for table in (KEPT, EXPIRING)}


_INSERT = """
INSERT INTO {table} (channel, bucket, seq, epoch, sender, key, at, kind, encoding, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?
"""
INSERT = for_both(_INSERT)
INSERT_KEY = """
INSERT INTO message_keys (channel, bucket, sender_key, seq, expiring) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?
"""
# UPDATE and not INSERT: the row is gone when its last cell is.
_NOTE_BUCKET = "UPDATE message_buckets USING TTL ? SET {column} = true WHERE channel = ? AND bucket = ?"
NOTE_BUCKET = {KEPT: _NOTE_BUCKET.format(column="kept"), EXPIRING: _NOTE_BUCKET.format(column="expiring")}
_REVISE = """
UPDATE {table} USING TIMESTAMP ? AND TTL ? SET body = ?, encoding = ?, kind = ?, revised_at = ?
WHERE channel = ? AND bucket = ? AND seq = ?
"""
REVISE = for_both(_REVISE)

MOST_SECONDS = 630_720_000  # the longest time to live that Cassandra takes: 20 years
_LAST_TIME = 2**62  # of a cell, in microseconds

_long = Struct(">q").pack
_int = Struct(">i").pack
_short = Struct(">H").pack
_ENCODINGS = {encoding: bytes([encoding]) for encoding in Encoding}
_BOOLEANS = (b"\x00", b"\x01")

Values = list[bytes]


class PartitionKey:
    """A partition's key as bytes, for many rows of it."""

    __slots__ = ("bucket", "channel", "routing")

    def __init__(self, channel: ChannelName, bucket: int) -> None:
        self.channel = channel.encode()
        self.bucket = _long(bucket)
        parts = (self.channel, self.bucket)
        self.routing = b"".join(_short(len(part)) + part + b"\x00" for part in parts)


def write_time(message: StoredMessage) -> int:
    """Return the timestamp of a message's cells: its own time, so that writing it again changes nothing."""
    return min(message.at * 1000, _LAST_TIME)


def revise_time(message: StoredMessage, at: int) -> int:
    """Return the timestamp of a revision's cells: after the first version, and the later revision wins.

    Cassandra decides between cells of one timestamp one by one, and would mix two revisions of the same millisecond:
    what they say makes their microseconds differ.
    """
    body = message.body
    chance = crc32(body.raw, crc32(message.kind.encode())) % 1000
    return min(max(at, message.at + 1) * 1000, _LAST_TIME) + chance


def message_values(partition: PartitionKey, message: StoredMessage, seconds: int) -> Values:
    """Lay out a message for INSERT, to live for so many seconds (0: for ever)."""
    body = message.body
    return [
        partition.channel,
        partition.bucket,
        _long(message.seq),
        message.epoch.encode(),
        message.sender.encode(),
        message.key.encode(),
        _long(message.at),
        message.kind.encode(),
        _ENCODINGS[body.encoding],
        body.raw,
        _long(write_time(message)),
        _int(seconds),
    ]


def key_values(partition: PartitionKey, message: StoredMessage, table: str, seconds: int) -> Values:
    """Lay out a message's key for INSERT_KEY."""
    return [
        partition.channel,
        partition.bucket,
        sender_key(message.sender, message.key).encode(),
        _long(message.seq),
        _BOOLEANS[table is EXPIRING],
        _long(write_time(message)),
        _int(seconds),
    ]


def bucket_values(partition: PartitionKey, seconds: int) -> Values:
    """Lay out the note that a bucket has messages, for NOTE_BUCKET."""
    return [_int(seconds), partition.channel, partition.bucket]


def revise_values(partition: PartitionKey, message: StoredMessage, at: int, seconds: int) -> Values:
    """Lay out a revision for REVISE."""
    body = message.body
    return [
        _long(revise_time(message, at)),
        _int(seconds),
        body.raw,
        _ENCODINGS[body.encoding],
        message.kind.encode(),
        _long(at),
        partition.channel,
        partition.bucket,
        _long(message.seq),
    ]


def revision(message: StoredMessage, bucket: int, at: int, seconds: int) -> tuple[Any, ...]:
    """Return the values of a revision for the driver's own binding."""
    body = message.body
    place = (message.channel, bucket, message.seq)
    return (revise_time(message, at), seconds, body.raw, int(body.encoding), message.kind, at, *place)


def time_left(retention_seconds: int, at: int) -> int:
    """Return how long a message of this time has to live: at least a second, since 0 means for ever."""
    left = math.ceil(retention_seconds - (time.time() - at / 1000))
    return max(1, min(left, retention_seconds, MOST_SECONDS))


def sender_key(sender: str, key: str) -> str:
    """Join a sender and a key to one text; neither has a space."""
    return f"{sender} {key}"
