"""How everything in a store is read and written, table by table and page by page, to be moved to another one.

What is moved is every record but a node's own small values (`meta`) and jobs. The tables are in the order in which they
are moved: what others need comes first, messages, which are the most, come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from storage import Store
from storage.records import (
    ApiKeyRecord,
    AuditRecord,
    DataKeyRecord,
    DeviceRecord,
    LastSeen,
    MemberRecord,
    PreferenceRecord,
    PushTokenRecord,
    ReadMark,
    StoredMessage,
    UserRecord,
)


class Table(StrEnum):
    """A kind of records. The names are in archives: never change them."""

    DATA_KEYS = "data_keys"
    USERS = "users"
    DEVICES = "devices"
    API_KEYS = "api_keys"
    MEMBERS = "members"
    LAST_SEEN = "last_seen"
    PUSH_TOKENS = "push_tokens"
    PREFERENCES = "preferences"
    READ_MARKS = "read_marks"
    AUDIT = "audit"
    MESSAGES = "messages"


RECORDS: dict[Table, type[msgspec.Struct]] = {
    Table.DATA_KEYS: DataKeyRecord,
    Table.USERS: UserRecord,
    Table.DEVICES: DeviceRecord,
    Table.API_KEYS: ApiKeyRecord,
    Table.MEMBERS: MemberRecord,
    Table.LAST_SEEN: LastSeen,
    Table.PUSH_TOKENS: PushTokenRecord,
    Table.PREFERENCES: PreferenceRecord,
    Table.READ_MARKS: ReadMark,
    Table.AUDIT: AuditRecord,
    Table.MESSAGES: StoredMessage,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a table, and where the next page begins; None behind the last one."""

    records: Sequence[msgspec.Struct]
    next: str | None


class Source(Protocol):
    """A store whose records can be read one after another."""

    async def scan(self, table: Table, *, after: str | None, limit: int) -> Page:
        """Read up to about `limit` records of a table, from the start or from where an earlier page ended.

        Following `next` gives every record that is there all the while once, in an order of the store's own; of what
        is written meanwhile, some. A page may be empty though more follow. `next` stays good for as long as the table
        exists, also for another process. Memory is bounded by `limit` records.
        """


class Origin(Source, Protocol):
    """A store that everything is taken from: it also says whether it is a copy itself."""

    async def get_meta(self, name: str) -> str | None:
        """Return a small named value, as `storage.Store` does."""


class Target(Origin, Store, Protocol):
    """A store that takes records as they are; what is in it can be read."""

    async def load(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        """Write records of a table; return when they are kept. Writing the same ones again changes nothing.

        Raises:
            StoreError: They cannot be written, or some have the places of other messages (not every store sees that).
        """
