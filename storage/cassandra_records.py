"""Turns records into rows of Cassandra and back: a column for each field, lists and maps as JSON texts."""

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, get_origin, get_type_hints

import msgspec

_R = TypeVar("_R", bound=msgspec.Struct)


class RecordTable(Generic[_R]):
    """A table whose columns are the fields of a record, in their order; `renamed` names columns that differ."""

    def __init__(self, table: str, record: type[_R], renamed: dict[str, str] | None = None) -> None:
        hints = get_type_hints(record)
        fields = record.__struct_fields__
        self.columns = tuple((renamed or {}).get(field, field) for field in fields)
        listed = ", ".join(f'"{column}"' for column in self.columns)
        self.select = f"SELECT {listed} FROM {table}"
        self.insert = f"INSERT INTO {table} ({listed}) VALUES ({', '.join('?' * len(fields))})"
        self._record = record
        self._decoders = {
            number: msgspec.json.Decoder(hints[field]).decode
            for number, field in enumerate(fields)
            if get_origin(hints[field]) in (tuple, dict)
        }

    def row(self, record: _R) -> list[Any]:
        """Return the values of a record, column by column."""
        values = list(msgspec.structs.astuple(record))
        for number in self._decoders:
            values[number] = msgspec.json.encode(values[number]).decode()
        return values

    def record(self, row: Sequence[Any]) -> _R:
        """Make a record of a row that `select` gave."""
        values = list(row)
        for number, decode in self._decoders.items():
            values[number] = decode(values[number])
        return self._record(**dict(zip(self._record.__struct_fields__, values, strict=True)))

    def records(self, rows: Iterable[Sequence[Any]]) -> list[_R]:
        """Make a record of each row."""
        return [self.record(row) for row in rows]
