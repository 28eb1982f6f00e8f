"""Members of channels in SQLite."""

import sqlite3
from collections.abc import Iterable, Mapping

import msgspec

from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import AlreadyExists
from storage.records import Membership, Place, Role
from storage.sqlite_insert import RowInsert

_PUT = RowInsert(
    "members", ("channel", "user", "role", "joined_at"), "(channel, user) DO UPDATE SET role = excluded.role"
)
_MEMBERS = "SELECT json_group_object(user, role) FROM members WHERE channel = ?"

# The newest message of each channel is found by one search in the index of the messages, so that a message costs no
# second write for each of its channel's members.
_MEMBERSHIPS = """
SELECT json_group_array(json_array(channel, role, joined_at, epoch, seq, at)) FROM (
    SELECT members.channel, role, joined_at, epoch, seq, at
    FROM members LEFT JOIN messages ON messages.channel = members.channel
        AND seq = (SELECT max(seq) FROM messages WHERE messages.channel = members.channel)
    WHERE user = ? AND max(joined_at, coalesce(at, joined_at)) >= ?
        AND (-max(joined_at, coalesce(at, joined_at)), members.channel) > (?, ?)
    ORDER BY max(joined_at, coalesce(at, joined_at)) DESC, members.channel
    LIMIT ?
)
"""

_BEFORE_ALL = (2**63 - 1, "")

_Row = tuple[ChannelName, Role, int, Epoch | None, Seq | None, int | None]
_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_decode_members = msgspec.json.Decoder(dict[UserId, Role]).decode


def members(connection: sqlite3.Connection, channel: ChannelName) -> dict[UserId, Role]:
    """Read who belongs to a channel."""
    (text,) = connection.execute(_MEMBERS, (channel,)).fetchone()
    return _decode_members(text)


def create_channel(connection: sqlite3.Connection, channel: ChannelName, first: Mapping[UserId, Role], at: int) -> None:
    """Insert the first members of a channel, or raise AlreadyExists."""
    if connection.execute("SELECT 1 FROM members WHERE channel = ? LIMIT 1", (channel,)).fetchone() is not None:
        raise AlreadyExists(f"the channel {channel} exists")
    _put(connection, channel, first, at)


def change_members(
    connection: sqlite3.Connection,
    channel: ChannelName,
    put: Mapping[UserId, Role],
    remove: Iterable[UserId],
    at: int,
) -> None:
    """Insert or update members, and delete others."""
    _put(connection, channel, put, at)
    connection.executemany("DELETE FROM members WHERE channel = ? AND user = ?", [(channel, user) for user in remove])


def _put(connection: sqlite3.Connection, channel: ChannelName, roles: Mapping[UserId, Role], at: int) -> None:
    _PUT.run(connection, [(channel, user, str(role), at) for user, role in roles.items()])


def memberships(
    connection: sqlite3.Connection, user: UserId, since: int, after: tuple[int, ChannelName] | None, limit: int
) -> list[Membership]:
    """Read the user's channels, the newest first."""
    at, name = after or _BEFORE_ALL
    (text,) = connection.execute(_MEMBERSHIPS, (user, since, -at, name, limit)).fetchone()
    return [_membership(row) for row in _decode_rows(text)]


def _membership(row: _Row) -> Membership:
    channel, role, joined_at, epoch, seq, at = row
    last = None if epoch is None or seq is None or at is None else Place(epoch, seq, at)
    return Membership(channel=channel, role=role, joined_at=joined_at, last=last)
