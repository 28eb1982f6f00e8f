"""Turns records into rows of SQLite and back: a column for each field, lists and maps as JSON texts."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar, get_origin, get_type_hints

import msgspec

from storage.sqlite_insert import Row

_R = TypeVar("_R", bound=msgspec.Struct)


def json_text(value: Any) -> str:
    """Return a list or a map as JSON, as text and not as bytes: that is what SQLite's own functions take."""
    return msgspec.json.encode(value).decode()


class RecordTable(Generic[_R]):
    """A table whose columns are the fields of a record, in their order; `renamed` names columns that differ."""

    def __init__(self, table: str, record: type[_R], renamed: dict[str, str] | None = None) -> None:
        hints = get_type_hints(record)
        fields = record.__struct_fields__
        self.table = table
        self.columns = tuple((renamed or {}).get(field, field) for field in fields)
        listed = ", ".join(self.columns)
        self.select = f"SELECT {listed} FROM {table}"
        self.put = f"INSERT OR REPLACE INTO {table} ({listed}) VALUES ({', '.join('?' * len(fields))})"
        self._record = record
        self._decoders = {
            number: decode for number, field in enumerate(fields) if (decode := _decoder(hints[field])) is not None
        }
        self._texts = [number for number, field in enumerate(fields) if get_origin(hints[field]) in (tuple, dict)]

    def row(self, record: _R) -> Row:
        """Return the values of a record, column by column."""
        values = list(msgspec.structs.astuple(record))
        for number in self._texts:
            values[number] = json_text(values[number])
        return values

    def record(self, row: Iterable[Any]) -> _R:
        """Make a record of a row that `select` gave."""
        values = list(row)
        for number, decode in self._decoders.items():
            values[number] = decode(values[number])
        return self._record(**dict(zip(self._record.__struct_fields__, values, strict=True)))

    def read(self, connection: sqlite3.Connection, condition: str, values: Sequence[Any] = ()) -> list[_R]:
        """Read the records of which a condition is true; it may go on with ORDER BY and LIMIT."""
        return [self.record(row) for row in connection.execute(f"{self.select} WHERE {condition}", values).fetchall()]

    def replace(self, connection: sqlite3.Connection, records: Iterable[_R]) -> None:
        """Write records; those of the same primary key are replaced."""
        connection.executemany(self.put, [self.row(record) for record in records])


def _decoder(kind: Any) -> Callable[[Any], Any] | None:
    """Return what makes a field of this type from its column; None where they are the same."""
    if kind is bool:
        return bool
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind
    if get_origin(kind) in (tuple, dict):
        return msgspec.json.Decoder(kind).decode
    return None
