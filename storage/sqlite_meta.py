"""Small named values in SQLite."""

import sqlite3


def get(connection: sqlite3.Connection, name: str) -> str | None:
    """Read a value."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    value: str | None = row[0] if row else None
    return value


def put(connection: sqlite3.Connection, name: str, value: str | None) -> None:
    """Write a value, or delete it."""
    if value is None:
        connection.execute("DELETE FROM meta WHERE name = ?", (name,))
    else:
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


def check(connection: sqlite3.Connection) -> None:
    """Read something from the file."""
    connection.execute("SELECT 1 FROM meta LIMIT 1").fetchone()
