"""Accounts, devices and when users were last seen, in SQLite."""

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from protocol.names import DeviceId, UserId
from storage import AlreadyExists
from storage.records import DeviceRecord, UserRecord
from storage.sqlite_insert import RowInsert

_USER_COLUMNS = "user, password_hash, created_at, is_guest, is_suspended"
_DEVICE_COLUMNS = "device, user, title, created_at, seen_at, generation, token_hash, expires_at, revoked_at"

_ADD_USER = f"INSERT INTO users ({_USER_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT (user) DO NOTHING"
_PUT_USER = "UPDATE users SET password_hash = ?, created_at = ?, is_guest = ?, is_suspended = ? WHERE user = ?"
_PUT_DEVICE = f"INSERT OR REPLACE INTO devices ({_DEVICE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ROTATES = "SELECT 1 FROM devices WHERE device = ? AND generation = ? AND revoked_at IS NULL"
_LAST_SEEN = RowInsert("last_seen", ("user", "at"), "(user) DO UPDATE SET at = max(at, excluded.at)")


def add_user(connection: sqlite3.Connection, record: UserRecord) -> None:
    """Insert an account, or raise AlreadyExists."""
    if connection.execute(_ADD_USER, msgspec.structs.astuple(record)).rowcount == 0:
        raise AlreadyExists(f"the name {record.user} is in use")


def put_user(connection: sqlite3.Connection, record: UserRecord) -> None:
    """Replace an account's record; the name stays as it was first written."""
    name, *values = msgspec.structs.astuple(record)
    connection.execute(_PUT_USER, (*values, name))


def user(connection: sqlite3.Connection, name: UserId) -> UserRecord | None:
    """Read an account."""
    row = connection.execute(f"SELECT {_USER_COLUMNS} FROM users WHERE user = ?", (name,)).fetchone()
    if row is None:
        return None
    stored_name, password_hash, created_at, is_guest, is_suspended = row
    return UserRecord(
        user=stored_name,
        password_hash=password_hash,
        created_at=created_at,
        is_guest=bool(is_guest),
        is_suspended=bool(is_suspended),
    )


def put_device(connection: sqlite3.Connection, record: DeviceRecord) -> None:
    """Insert or replace a device."""
    connection.execute(_PUT_DEVICE, msgspec.structs.astuple(record))


def device(connection: sqlite3.Connection, identity: DeviceId) -> DeviceRecord | None:
    """Read a device."""
    found = _read_devices(connection, "device = ?", identity)
    return found[0] if found else None


def devices(connection: sqlite3.Connection, owner: UserId) -> list[DeviceRecord]:
    """Read the user's devices that are not revoked, the latest seen first."""
    return _read_devices(connection, "user = ? AND revoked_at IS NULL ORDER BY seen_at DESC, device", owner)


def _read_devices(connection: sqlite3.Connection, condition: str, value: str) -> list[DeviceRecord]:
    rows = connection.execute(f"SELECT {_DEVICE_COLUMNS} FROM devices WHERE {condition}", (value,)).fetchall()
    return [DeviceRecord(**dict(zip(DeviceRecord.__struct_fields__, row, strict=True))) for row in rows]


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
