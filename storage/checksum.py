"""A checksum of everything in a store that does not depend on the order in which it is read.

Stores walk through their records in orders of their own, and what is moved is moved in pieces, with interruptions. So a
table's checksum is the sum, modulo 2^256, of the SHA-256 of each of its records; the checksum of the whole is the
SHA-256 of the tables' names, counts and sums. It finds what was lost, doubled or changed by accident; it is no
signature, for who may write both the records and the checksum can make them fit.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from storage.moving import Table

_MODULUS = 1 << 256


class Tally(msgspec.Struct, frozen=True):
    """How many records of one table were counted, and the sum of their hashes in hexadecimal digits."""

    records: int = 0
    total: str = "0" * 64


class Checksum:
    """Counts records in any order; `tallies` can be kept and gone on from."""

    def __init__(self, tallies: dict[Table, Tally] | None = None) -> None:
        self._records = dict.fromkeys(Table, 0)
        self._totals = dict.fromkeys(Table, 0)
        for table, tally in (tallies or {}).items():
            self._records[table] = tally.records
            self._totals[table] = int(tally.total, 16)

    def add(self, table: Table, encoded: Iterable[bytes | memoryview]) -> None:
        """Count records of a table; each is given in its one encoding (`storage.archive_rows`)."""
        sha256, from_bytes = hashlib.sha256, int.from_bytes
        hashes = [from_bytes(sha256(record).digest(), "big") for record in encoded]
        self._records[table] += len(hashes)
        self._totals[table] = (self._totals[table] + sum(hashes)) % _MODULUS

    @property
    def tallies(self) -> dict[Table, Tally]:
        """Return what was counted in each table that has anything."""
        return {table: Tally(count, f"{self._totals[table]:064x}") for table, count in self._records.items() if count}

    @property
    def records(self) -> int:
        """Return how many records were counted."""
        return sum(self._records.values())

    def hexdigest(self) -> str:
        """Return the checksum of the whole, 64 hexadecimal digits."""
        lines = [f"{table} {tally.records} {tally.total}\n" for table, tally in sorted(self.tallies.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
