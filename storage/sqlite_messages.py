"""Messages in SQLite: how they are written and read."""

import sqlite3
from collections.abc import Sequence

from protocol.names import ChannelName, Seq, UserId
from storage import StoreError
from storage.message_rows import COLUMNS, message_of
from storage.records import Place, StoredMessage
from storage.sqlite_insert import RowInsert

_INSERTED = ("channel", "seq", "epoch", "sender", "key", "at", "kind", "encoding", "body", "revised_at")

_INSERT = RowInsert("messages", _INSERTED, "(channel, seq) DO NOTHING")

_SELECT = f"SELECT {COLUMNS} FROM messages WHERE"
_AFTER = f"{_SELECT} channel = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
_BEFORE = f"{_SELECT} channel = ? AND seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?"
_FIND = f"{_SELECT} sender = ? AND key = ? AND at > ? ORDER BY at DESC, seq DESC LIMIT 1"
_PAGE = f"{_SELECT} (channel, seq) > (?, ?) ORDER BY channel, seq LIMIT ?"
_HEAD = "SELECT epoch, seq, at FROM messages WHERE channel = ? ORDER BY seq DESC LIMIT 1"
_KEPT = "SELECT epoch, sender, key FROM messages WHERE channel = ? AND seq = ?"
_REVISE = """
UPDATE messages SET body = ?, encoding = ?, kind = ?, revised_at = ?
WHERE channel = ? AND seq = ? AND epoch = ? AND coalesce(revised_at, 0) <= ?
"""
_END = 2**63 - 1


class PlaceTaken(StoreError):
    """Another message has this place: whoever numbered this one must read the head of the channel again."""


def insert(connection: sqlite3.Connection, messages: Sequence[StoredMessage]) -> None:
    """Insert messages; those that are there already are left as they are.

    Raises:
        PlaceTaken: One of them would have the place of a different message.
    """
    if not messages:
        return
    rows = [
        # The sqlite3 module binds exact ints and bytearrays at once, and searches an adapter for IntEnum and bytes.
        (
            m.channel,
            m.seq,
            m.epoch,
            m.sender,
            m.key,
            m.at,
            m.kind,
            int(body.encoding),
            bytearray(body.raw),
            m.revised_at,
        )
        for m in messages
        for body in (m.body,)
    ]
    if _INSERT.run(connection, rows) < len(rows):
        for message in messages:
            _check_kept(connection, message)


def _check_kept(connection: sqlite3.Connection, message: StoredMessage) -> None:
    kept = connection.execute(_KEPT, (message.channel, message.seq)).fetchone()
    if kept != (message.epoch, message.sender, message.key):
        raise PlaceTaken(f"{message.channel} has another message with seq {message.seq}")


def revise(connection: sqlite3.Connection, message: StoredMessage) -> None:
    """Update the row of a message, unless it has a later revision."""
    body, at = message.body, message.revised_at
    place = (message.channel, message.seq, message.epoch)
    connection.execute(_REVISE, (body.raw, int(body.encoding), message.kind, at, *place, at))


def head(connection: sqlite3.Connection, channel: ChannelName) -> Place | None:
    """Read the place of the channel's newest message."""
    row = connection.execute(_HEAD, (channel,)).fetchone()
    return Place(*row) if row else None


def history(
    connection: sqlite3.Connection, channel: ChannelName, before: Seq | None, after: Seq | None, limit: int
) -> list[StoredMessage]:
    """Read a page, in rising seq."""
    bounds = (-1 if after is None else after, _END if before is None else before)
    if after is not None:
        return _read(connection, _AFTER, (channel, *bounds, limit))
    page = _read(connection, _BEFORE, (channel, *bounds, limit))
    page.reverse()
    return page


def page(connection: sqlite3.Connection, after: Sequence[str | int] | None, limit: int) -> list[StoredMessage]:
    """Read messages of all channels, by channel and seq, that follow the given place."""
    return _read(connection, _PAGE, (*(after or ("", 0)), limit))


def find(connection: sqlite3.Connection, sender: UserId, key: str, since: int) -> StoredMessage | None:
    """Read the newest message of this sender with this key."""
    messages = _read(connection, _FIND, (sender, key, since))
    return messages[0] if messages else None


def _read(connection: sqlite3.Connection, statement: str, values: tuple[str | int, ...]) -> list[StoredMessage]:
    return [message_of(row) for row in connection.execute(statement, values).fetchall()]
