"""Inserts many rows with few statements.

Around every step of a statement the sqlite3 module gives up Python's global lock and then waits for it again. While
another thread computes, each such wait may last 5 ms, so a batch must not cost one step for every row.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

Row = Sequence[Any]


class RowInsert:
    """One INSERT of rows of one table, prepared for the sizes 512, 256, … 1; the sizes add up to any count."""

    SIZES = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)

    def __init__(self, table: str, columns: Sequence[str], on_conflict: str) -> None:
        row = f"({', '.join('?' * len(columns))})"
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._statements = {size: f"{head}{', '.join([row] * size)} ON CONFLICT {on_conflict}" for size in self.SIZES}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
        """Insert the rows, in order; return how many rows were changed. The caller has begun a transaction."""
        changed = 0
        start = 0
        for size in self._split(len(rows)):
            values = list(chain.from_iterable(rows[start : start + size]))
            changed += connection.execute(self._statements[size], values).rowcount
            start += size
        return changed

    def _split(self, count: int) -> list[int]:
        sizes = []
        for size in self.SIZES:
            times, count = divmod(count, size)
            sizes += [size] * times
        return sizes
