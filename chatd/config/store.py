"""What is kept, and the work that waits: `[store]` and `[jobs]`."""

from typing import Literal

import msgspec

from chatd.config.section import Count, Seconds, Section, Text


class Encryption(Section, frozen=True, kw_only=True):
    """Message bodies sealed in the store; without an active key they are kept as they are."""

    active: str = ""
    keys: dict[str, str] = msgspec.field(default_factory=dict)
    refresh_seconds: Seconds = 60.0


class Store(Section, frozen=True, kw_only=True):
    """What keeps history, accounts and members."""

    kind: Literal["sqlite", "cassandra"] = "sqlite"
    path: Text = "chatd.sqlite3"
    queue_rows: Count = 100_000
    batch_rows: Count = 500
    read_threads: Count = 4
    cache_kib: Count = 65536
    trim_seconds: Seconds = 600.0
    trim_rows: Count = 1000
    encryption: Encryption = Encryption()


class Jobs(Section, frozen=True, kw_only=True):
    """Work that is due later and must survive: pushes, webhooks, scheduled events."""

    path: Text = "jobs.sqlite3"
    waiting: Count = 200_000
    dead: Count = 10_000
