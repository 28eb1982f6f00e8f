"""What the Cassandra store has to know: where the cluster is, its bounds, and what each namespace keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Consistency = Literal["local_quorum", "quorum", "each_quorum", "all", "one", "local_one"]

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """What the store does with the messages of a namespace."""

    retention_seconds: int = 0  # messages get this time to live; 0: for ever
    data_bytes: int = 16384  # the largest body: decides how many messages a partition may have
    is_trimmed: bool = True  # `trim` will be asked to remove some of them


def keep_all(_namespace: str) -> NamespaceRule:
    """Keep everything of every namespace."""
    return NamespaceRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraSettings:
    """`[cassandra]` in config.toml says what each is for."""

    contact_points: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "chatd"
    replication_factor: int = 3
    datacenter: str = ""
    consistency: Consistency = "local_quorum"
    user: str = ""
    password: str = ""
    tls: bool = False
    tls_authority: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_check_hostname: bool = True
    connect_seconds: float = 5.0
    request_seconds: float = 5.0
    speculative_seconds: float = 0.5
    in_flight: int = 256
    reads_waiting: int = 10_000
    queue_rows: int = 100_000
    batches_in_flight: int = 8
    batch_partitions: int = 10
    batch_rows: int = 100
    batch_bytes: int = 40_000
    dedupe_seconds: int = 8 * DAY_SECONDS
    revocation_seconds: int = 40 * DAY_SECONDS
    rules: Callable[[str], NamespaceRule] = keep_all
