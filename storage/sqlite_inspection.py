"""Questions of operators about a database: how much is in it, is it whole. For reading connections."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from protocol.names import ChannelName, Epoch, Seq


@dataclass(frozen=True, slots=True)
class Contents:
    """How much of what is kept."""

    messages: int
    channels: int
    users: int
    devices: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Two neighbours of one epoch between which seqs are missing."""

    channel: ChannelName
    epoch: Epoch
    before: Seq
    after: Seq

    def __str__(self) -> str:
        return f"{self.channel}: nothing between seq {self.before} and {self.after} of epoch {self.epoch}"


_CONTENTS = """
SELECT (SELECT count(*) FROM messages),
       (SELECT count(*) FROM (SELECT DISTINCT channel FROM messages)),
       (SELECT count(*) FROM users),
       (SELECT count(*) FROM devices WHERE revoked_at IS NULL)
"""
_HOLES = """
SELECT channel, epoch, seq_before, seq FROM (
    SELECT channel, epoch, seq, lag(seq) OVER of_channel AS seq_before, lag(epoch) OVER of_channel AS epoch_before
    FROM messages WHERE channel > ? AND channel < ?
    WINDOW of_channel AS (PARTITION BY channel ORDER BY seq)
) WHERE epoch = epoch_before AND seq > seq_before + 1
"""


def contents(connection: sqlite3.Connection) -> Contents:
    """Count what is kept; devices that were revoked are not counted."""
    return Contents(*connection.execute(_CONTENTS).fetchone())


def faults(connection: sqlite3.Connection) -> list[str]:
    """Let SQLite check the whole file; return what it found, a line each."""
    lines = [line for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if lines == ["ok"] else lines


def holes(connection: sqlite3.Connection, namespace: str) -> Iterator[Hole]:
    """Find seqs that are missing between messages of one epoch; a durable channel has none."""
    for row in connection.execute(_HOLES, (f"{namespace}:", f"{namespace};")):
        yield Hole(*row)
