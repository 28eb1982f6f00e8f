"""What reaches users who are away, and how far they have read, in SQLite: push tokens, preferences, read marks."""

import sqlite3
from collections.abc import Sequence

from protocol.names import ChannelName, UserId
from storage.records import PreferenceRecord, PushTokenRecord, ReadMark
from storage.sqlite_insert import RowInsert
from storage.sqlite_records import RecordTable, json_text

PUSH_TOKENS = RecordTable("push_tokens", PushTokenRecord)
PREFERENCES = RecordTable("preferences", PreferenceRecord, {"values": "choices"})
READ_MARKS = RecordTable("read_marks", ReadMark)

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


def preferences(
    connection: sqlite3.Connection, users: Sequence[UserId], channel: ChannelName
) -> list[PreferenceRecord]:
    """Read what these users prefer for this channel, and for all channels."""
    condition = "user IN (SELECT value FROM json_each(?)) AND channel IN ('', ?)"
    return PREFERENCES.read(connection, condition, (json_text(users), channel))


def save_read_marks(connection: sqlite3.Connection, marks: Sequence[ReadMark]) -> None:
    """Keep the larger one of the given and the kept seq of each user and channel."""
    _SAVE_MARKS.run(connection, [READ_MARKS.row(mark) for mark in marks])


def read_marks(connection: sqlite3.Connection, user: UserId, channels: Sequence[ChannelName]) -> list[ReadMark]:
    """Read the user's marks in these channels."""
    condition = "user = ? AND channel IN (SELECT value FROM json_each(?))"
    return READ_MARKS.read(connection, condition, (user, json_text(channels)))
