"""Messages in SQLite: how they are written and read."""

import sqlite3
from collections.abc import Sequence

import msgspec

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import StoreError
from storage.records import Place, StoredMessage
from storage.sqlite_insert import RowInsert

COLUMNS = ("channel", "seq", "epoch", "sender", "key", "at", "kind", "encoding", "body")

_INSERT = RowInsert("messages", COLUMNS, "(channel, seq) DO NOTHING")

# A page is made into one JSON text by SQLite, because every row that is fetched by itself costs a fight for Python's
# lock. hex() carries bodies of both encodings unchanged.
_PAGE = """
SELECT json_group_array(json_array(channel, epoch, seq, sender, key, at, kind, encoding, hex(body)))
FROM (SELECT * FROM messages WHERE {where} ORDER BY {order} LIMIT ?)
"""
_AFTER = _PAGE.format(where="channel = ? AND seq > ? AND seq < ?", order="seq")
_BEFORE = _PAGE.format(where="channel = ? AND seq > ? AND seq < ?", order="seq DESC")
_FIND = _PAGE.format(where="sender = ? AND key = ? AND at > ?", order="at DESC")
_HEAD = "SELECT epoch, seq, at FROM messages WHERE channel = ? ORDER BY seq DESC LIMIT 1"
_KEPT = "SELECT epoch, sender, key FROM messages WHERE channel = ? AND seq = ?"
_END = 2**63 - 1

_PageRow = tuple[ChannelName, Epoch, Seq, UserId, str, int, str, Encoding, str]
_decode_page = msgspec.json.Decoder(list[_PageRow]).decode


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
        (m.channel, m.seq, m.epoch, m.sender, m.key, m.at, m.kind, int(m.body.encoding), bytearray(m.body.raw))
        for m in messages
    ]
    if _INSERT.run(connection, rows) < len(rows):
        for message in messages:
            _check_kept(connection, message)


def _check_kept(connection: sqlite3.Connection, message: StoredMessage) -> None:
    kept = connection.execute(_KEPT, (message.channel, message.seq)).fetchone()
    if kept != (message.epoch, message.sender, message.key):
        raise PlaceTaken(f"{message.channel} has another message with seq {message.seq}")


def head(connection: sqlite3.Connection, channel: ChannelName) -> Place | None:
    """Read the place of the channel's newest message."""
    row = connection.execute(_HEAD, (channel,)).fetchone()
    return Place(*row) if row else None


def history(
    connection: sqlite3.Connection, channel: ChannelName, before: Seq | None, after: Seq | None, limit: int
) -> list[StoredMessage]:
    """Read a page, in rising seq."""
    statement = _BEFORE if after is None else _AFTER
    bounds = (-1 if after is None else after, _END if before is None else before)
    messages = _read(connection, statement, (channel, *bounds, limit))
    messages.sort(key=lambda message: message.seq)
    return messages


def find(connection: sqlite3.Connection, sender: UserId, key: str, since: int) -> StoredMessage | None:
    """Read the newest message of this sender with this key."""
    messages = _read(connection, _FIND, (sender, key, since, 1))
    return messages[0] if messages else None


def _read(connection: sqlite3.Connection, statement: str, values: tuple[str | int, ...]) -> list[StoredMessage]:
    (page,) = connection.execute(statement, values).fetchone()
    return [_message(row) for row in _decode_page(page)]


def _message(row: _PageRow) -> StoredMessage:
    channel, epoch, seq, sender, key, at, kind, encoding, body = row
    return StoredMessage(
        channel=channel,
        epoch=epoch,
        seq=seq,
        sender=sender,
        key=key,
        at=at,
        kind=kind,
        body=Body(encoding, bytes.fromhex(body)),
    )
