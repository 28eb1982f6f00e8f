"""Nodes that share a Redis: `[cluster]`."""

from typing import Annotated

from msgspec import Meta

from chatd.config.section import Count, Seconds, Section


class Cluster(Section, frozen=True, kw_only=True):
    """Nodes that share a Redis: leases, the registry of sessions, messages between nodes."""

    node: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,32}$")] = ""
    heartbeat_seconds: Seconds = 2.0
    lease_seconds: Seconds = 10.0
    claim_seconds: Seconds = 30.0
    register_seconds: Seconds = 5.0
    answer_seconds: Seconds = 2.0
    known_users: Count = 200_000
    batch_users: Count = 500
    post_bytes: Count = 16_777_216
    recheck_seconds: Seconds = 30.0
