"""Accounts, devices and when users were last seen, in SQLite."""

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from protocol.names import DeviceId, UserId
from storage import AlreadyExists
from storage.records import DeviceRecord, UserRecord
from storage.sqlite_insert import RowInsert
from storage.sqlite_records import RecordTable

USERS = RecordTable("users", UserRecord)
DEVICES = RecordTable("devices", DeviceRecord)

_ADD_USER = USERS.put.replace("INSERT OR REPLACE", "INSERT OR IGNORE")
_PUT_USER = f"UPDATE users SET {', '.join(f'{column} = ?' for column in USERS.columns[1:])} WHERE user = ?"
_ROTATES = "SELECT 1 FROM devices WHERE device = ? AND generation = ? AND revoked_at IS NULL"
_BELONGINGS = ("users", "devices", "members", "last_seen", "push_tokens", "preferences", "read_marks")
_LAST_SEEN = RowInsert("last_seen", ("user", "at"), "(user) DO UPDATE SET at = max(at, excluded.at)")


def add_user(connection: sqlite3.Connection, record: UserRecord) -> None:
    """Insert an account, or raise AlreadyExists."""
    if connection.execute(_ADD_USER, USERS.row(record)).rowcount == 0:
        raise AlreadyExists(f"the name {record.user} is in use")


def put_user(connection: sqlite3.Connection, record: UserRecord) -> None:
    """Replace an account's record; the name stays as it was first written."""
    name, *values = USERS.row(record)
    connection.execute(_PUT_USER, (*values, name))


def user(connection: sqlite3.Connection, name: UserId) -> UserRecord | None:
    """Read an account."""
    found = USERS.read(connection, "user = ?", (name,))
    return found[0] if found else None


def users(connection: sqlite3.Connection, after: UserId | None, limit: int) -> list[UserRecord]:
    """Read a page of accounts, sorted by their names without regard to case."""
    return USERS.read(connection, "user > ? ORDER BY user LIMIT ?", (after or "", limit))


def erase_user(connection: sqlite3.Connection, name: UserId) -> None:
    """Delete an account and what belongs to it."""
    account = user(connection, name)
    owner = account.user if account else name
    for table in _BELONGINGS:
        connection.execute(f"DELETE FROM {table} WHERE user = ?", (owner,))


def put_device(connection: sqlite3.Connection, record: DeviceRecord) -> None:
    """Insert or replace a device."""
    DEVICES.replace(connection, [record])


def device(connection: sqlite3.Connection, identity: DeviceId) -> DeviceRecord | None:
    """Read a device."""
    found = DEVICES.read(connection, "device = ?", (identity,))
    return found[0] if found else None


def devices(connection: sqlite3.Connection, owner: UserId) -> list[DeviceRecord]:
    """Read the user's devices that are not revoked, the latest seen first."""
    return DEVICES.read(connection, "user = ? AND revoked_at IS NULL ORDER BY seen_at DESC, device", (owner,))


def rotate_device(connection: sqlite3.Connection, record: DeviceRecord, expected_generation: int) -> bool:
    """Replace a device if it has this generation and is not revoked."""
    if connection.execute(_ROTATES, (record.device, expected_generation)).fetchone() is None:
        return False
    put_device(connection, record)
    return True


def revoke_device(connection: sqlite3.Connection, identity: DeviceId, at: int) -> bool:
    """Mark a device revoked, if it is not."""
    update = "UPDATE devices SET revoked_at = ? WHERE device = ? AND revoked_at IS NULL"
    return connection.execute(update, (at, identity)).rowcount == 1


def revoked_since(connection: sqlite3.Connection, at: int) -> list[DeviceId]:
    """Read which devices were revoked since then, in that order."""
    rows = connection.execute("SELECT device FROM devices WHERE revoked_at >= ? ORDER BY revoked_at, device", (at,))
    return [identity for (identity,) in rows.fetchall()]


def save_last_seen(connection: sqlite3.Connection, seen: Mapping[UserId, int]) -> None:
    """Keep the later one of the given and the kept time of each user."""
    _LAST_SEEN.run(connection, list(seen.items()))


def last_seen(connection: sqlite3.Connection, users: Sequence[UserId]) -> dict[UserId, int]:
    """Read when these users were last seen."""
    found = "SELECT json_group_object(user, at) FROM last_seen WHERE user IN (SELECT value FROM json_each(?))"
    (text,) = connection.execute(found, (msgspec.json.encode(users).decode(),)).fetchone()
    return msgspec.json.decode(text, type=dict[UserId, int])
