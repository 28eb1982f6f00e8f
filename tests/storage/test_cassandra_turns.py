"""Turns of nodes that change the schema of a keyspace, on a driver that only knows whose turn it is."""

from typing import cast

import pytest
import structlog.testing
from cassandra.cluster import Session as DriverSession

from storage import cassandra_migrations
from storage.cassandra_migrations import LOCK_SECONDS, SAY_SECONDS, WAIT_SECONDS, migrate, shipped
from storage.migrations import MigrationError


class HandTime:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return how much was slept."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class CalmCluster:
    """Nodes that have the same schema at once."""

    max_schema_agreement_wait = 10

    def get_control_connection_host(self) -> str:
        """Name a node."""
        return "node"

    def refresh_schema_metadata(self, max_schema_agreement_wait: float) -> None:
        """Find that all agree."""


class BusyKeyspace:
    """Says of an empty keyspace that another node changes its schema, until a time; everything else works."""

    keyspace = "chatd"

    def __init__(self, time: HandTime, free_at: float) -> None:
        self.cluster = CalmCluster()
        self._time = time
        self._free_at = free_at

    def execute(self, query: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        """Answer a statement."""
        if query.startswith(("INSERT INTO schema_lock", "UPDATE schema_lock", "DELETE FROM schema_lock")):
            return [(self._time.now >= self._free_at,)]
        return []


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> HandTime:
    time = HandTime()
    monkeypatch.setattr(cassandra_migrations, "time", time)
    return time


def _migrate(time: HandTime, free_at: float) -> tuple[int, list[str]]:
    """Return how many migrations were applied, and what was logged."""
    with structlog.testing.capture_logs() as logs:
        made = migrate(cast(DriverSession, BusyKeyspace(time, free_at)), shipped(), lambda: 0)
    return len(made), [entry["event"] for entry in logs]


def test_a_short_turn_of_another_node_is_waited_for_in_silence(time: HandTime) -> None:
    assert _migrate(time, SAY_SECONDS / 2) == (len(shipped()), [])


def test_who_waits_for_a_node_that_ended_in_its_turn_says_so_once(time: HandTime) -> None:
    assert _migrate(time, LOCK_SECONDS) == (len(shipped()), ["waiting for the schema of Cassandra"])


def test_nobody_waits_for_another_node_for_ever(time: HandTime) -> None:
    with pytest.raises(MigrationError, match="look after it"):
        _migrate(time, WAIT_SECONDS * 2)
