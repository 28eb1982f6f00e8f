"""The Cassandra cluster that many nodes share: `[cassandra]`."""

from typing import Annotated, Literal

from msgspec import Meta

from chatd.config.section import Count, Port, Seconds, Section


class CassandraTls(Section, frozen=True, kw_only=True):
    """TLS to the Cassandra cluster."""

    enabled: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    check_hostname: bool = True


class Cassandra(Section, frozen=True, kw_only=True):
    """The Cassandra cluster that keeps history, accounts and members."""

    nodes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1",)
    port: Port = 9042
    keyspace: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")] = "chatd"
    datacenter: str = ""
    replication_factor: Count = 3
    consistency: Literal["local_quorum", "quorum", "each_quorum", "all", "local_one", "one"] = "local_quorum"
    username: str = ""
    password: str = ""
    connect_seconds: Seconds = 5.0
    request_seconds: Seconds = 5.0
    speculative_seconds: Seconds = 0.5
    in_flight: Count = 256
    reads_waiting: Count = 10_000
    batches_in_flight: Count = 8
    batch_partitions: Annotated[int, Meta(ge=1, le=100)] = 10
    batch_rows: Annotated[int, Meta(ge=1, le=10_000)] = 100
    batch_bytes: Count = 40_000
    tls: CassandraTls = CassandraTls()
