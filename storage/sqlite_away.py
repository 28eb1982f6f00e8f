"""What reaches users who are away, and how far they have read, in SQLite: push tokens, preferences, read marks."""

import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from protocol.names import ChannelName, Seq, UserId
from storage import UserChannel
from storage.records import PreferenceRecord, PushTokenRecord, ReadMark, Standing
from storage.sqlite_insert import RowInsert
from storage.sqlite_records import RecordTable, json_text

PUSH_TOKENS = RecordTable("push_tokens", PushTokenRecord)
PREFERENCES = RecordTable("preferences", PreferenceRecord, {"values": "choices"})
READ_MARKS = RecordTable("read_marks", ReadMark)

# Values in a list of places: [user, channel].
_PLACES = "SELECT value ->> 0, value ->> 1 FROM json_each(?)"

# As `memberships` of sqlite_members.py, without what nobody asks here: one short text a user.
_STANDINGS = """
SELECT json_group_array(json_array(channel, last, read)) FROM (
    SELECT members.channel, messages.seq AS last, coalesce(read_marks.seq, 0) AS read
    FROM members LEFT JOIN messages ON messages.channel = members.channel
            AND messages.seq = (SELECT max(seq) FROM messages WHERE messages.channel = members.channel)
        LEFT JOIN read_marks ON read_marks.user = members.user AND read_marks.channel = members.channel
    WHERE members.user = ?
    ORDER BY max(joined_at, coalesce(messages.at, joined_at)) DESC, members.channel
    LIMIT ?
) WHERE last IS NOT NULL
"""
_decode_standings = msgspec.json.Decoder(list[tuple[ChannelName, Seq, Seq]]).decode

_SAVE_MARKS = RowInsert(
    "read_marks",
    READ_MARKS.columns,
    "(user, channel) DO UPDATE SET seq = excluded.seq, at = excluded.at WHERE excluded.seq > seq",
)


def push_tokens(connection: sqlite3.Connection, users: Sequence[UserId]) -> list[PushTokenRecord]:
    """Read the push tokens of these users."""
    return PUSH_TOKENS.read(connection, "user IN (SELECT value FROM json_each(?))", (json_text(users),))


def remove_push_token(connection: sqlite3.Connection, provider: str, token: str) -> None:
    """Delete a push token."""
    connection.execute("DELETE FROM push_tokens WHERE provider = ? AND token = ?", (provider, token))


def put_preference(connection: sqlite3.Connection, preference: PreferenceRecord) -> None:
    """Write what a user prefers, or delete it."""
    if preference.values:
        PREFERENCES.replace(connection, [preference])
    else:
        place = (preference.user, preference.channel)
        connection.execute("DELETE FROM preferences WHERE user = ? AND channel = ?", place)


def preferences(connection: sqlite3.Connection, places: Collection[UserChannel]) -> list[PreferenceRecord]:
    """Read what users prefer for these channels, and for all channels."""
    wanted = {*places, *((user, ChannelName("")) for user, _ in places)}
    return PREFERENCES.read(connection, f"(user, channel) IN ({_PLACES})", (json_text(list(wanted)),))


def save_read_marks(connection: sqlite3.Connection, marks: Sequence[ReadMark]) -> None:
    """Keep the larger one of the given and the kept seq of each user and channel."""
    _SAVE_MARKS.run(connection, [READ_MARKS.row(mark) for mark in marks])


def read_marks(connection: sqlite3.Connection, places: Collection[UserChannel]) -> list[ReadMark]:
    """Read users' marks in these channels."""
    return READ_MARKS.read(connection, f"(user, channel) IN ({_PLACES})", (json_text(list(places)),))


def standings(connection: sqlite3.Connection, users: Sequence[UserId], limit: int) -> list[Standing]:
    """Read where the newest channels of users stand."""
    found = []
    for user in users:
        (text,) = connection.execute(_STANDINGS, (user, limit)).fetchone()
        found += [
            Standing(user=user, channel=channel, last=last, read=read)
            for channel, last, read in _decode_standings(text)
        ]
    return found
