"""What backends and operators may do and did, and the keys of sealed bodies, in SQLite."""

import sqlite3
from collections.abc import Sequence

from storage.records import ApiKeyRecord, AuditRecord, DataKeyRecord
from storage.sqlite_records import RecordTable

API_KEYS = RecordTable("api_keys", ApiKeyRecord)
AUDIT = RecordTable("audit", AuditRecord)
DATA_KEYS = RecordTable("data_keys", DataKeyRecord)

_ADD_AUDIT = AUDIT.put.replace("INSERT OR REPLACE", "INSERT OR IGNORE")
_END = 2**63 - 1


def api_key(connection: sqlite3.Connection, key_id: str) -> ApiKeyRecord | None:
    """Read one API key."""
    found = API_KEYS.read(connection, "key_id = ?", (key_id,))
    return found[0] if found else None


def api_keys(connection: sqlite3.Connection) -> list[ApiKeyRecord]:
    """Read all API keys, the oldest first."""
    return API_KEYS.read(connection, "true ORDER BY created_at, key_id")


def add_audit(connection: sqlite3.Connection, records: Sequence[AuditRecord]) -> None:
    """Insert records; those that are there already are left as they are."""
    connection.executemany(_ADD_AUDIT, [AUDIT.row(record) for record in records])


def audit(connection: sqlite3.Connection, before: int | None, limit: int) -> list[AuditRecord]:
    """Read records, the newest first."""
    end = _END if before is None else before
    return AUDIT.read(connection, "audit_id < ? ORDER BY audit_id DESC LIMIT ?", (end, limit))


def data_keys(connection: sqlite3.Connection) -> list[DataKeyRecord]:
    """Read all data keys, the oldest first."""
    return DATA_KEYS.read(connection, "true ORDER BY created_at, data_key")
