"""How a schema is changed in a cluster of several nodes; tests/system has it on real ones."""

from typing import Any

import pytest
from cassandra import DriverException, InvalidRequest

from storage import StoreUnavailable
from storage.cassandra_migrations import migrate
from storage.migrations import Migration

USUAL_SECONDS = 10
MIGRATION = Migration(1, "two_tables", "CREATE TABLE one (a int);\nCREATE TABLE two (a int);\n")


class Cluster:
    """The driver's side of a cluster whose nodes come to have the same schema, or do not."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.max_schema_agreement_wait = USUAL_SECONDS
        self.node: str | None = "10.0.0.2"
        self.log: list[str] = []
        self._agrees = agrees

    def get_control_connection_host(self) -> str | None:
        return self.node

    def refresh_schema_metadata(self, max_schema_agreement_wait: float) -> None:
        assert max_schema_agreement_wait > 0
        self.log.append("agree")
        if not self._agrees:
            raise DriverException("Schema metadata was not refreshed. See log for details.")


class Session:
    """The driver's session: it has no rows, and takes every lock."""

    keyspace = "chatd"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def execute(self, query: str, _: object, *, host: str | None, **__: object) -> list[Any]:
        words = " ".join(query.split()[:3])
        if words.startswith("CREATE"):
            assert (host, self.cluster.max_schema_agreement_wait) == (self.cluster.get_control_connection_host(), 0)
        else:
            assert host is None
        self.cluster.log.append(words)
        return [] if words.startswith("SELECT") else [(True,)]


class ListedTooEarly(Session):
    """Another node just makes the table of what is applied: it is listed, and cannot be read until schemas agree."""

    def execute(self, query: str, _: object, *, host: str | None, **__: object) -> list[Any]:
        answer = super().execute(query, _, host=host)
        if "system_schema" in query:
            return [("schema_migrations",)]
        if query.startswith("SELECT") and "agree" not in self.cluster.log:
            raise InvalidRequest("table schema_migrations does not exist")
        return answer


def now() -> int:
    return 7


def test_one_node_makes_all_changes_and_the_others_are_waited_for_before_a_file_counts() -> None:
    cluster = Cluster()
    assert migrate(Session(cluster), [MIGRATION], now) == [MIGRATION]
    changed = [words for words in cluster.log if not words.startswith(("SELECT", "UPDATE"))]
    assert changed == [
        *("CREATE TABLE IF", "CREATE TABLE IF", "agree"),  # the lock and the marks
        "INSERT INTO schema_lock",
        *("CREATE TABLE one", "CREATE TABLE two", "agree"),
        "INSERT INTO schema_migrations",
        "DELETE FROM schema_lock",
    ]
    assert cluster.max_schema_agreement_wait == USUAL_SECONDS


def test_a_node_that_starts_while_another_makes_the_first_table_takes_its_turn() -> None:
    assert migrate(ListedTooEarly(Cluster()), [MIGRATION], now) == [MIGRATION]


def test_a_file_does_not_count_while_nodes_have_different_schemas() -> None:
    cluster = Cluster(agrees=False)
    with pytest.raises(StoreUnavailable, match="had different schemas for 30 s"):
        migrate(Session(cluster), [MIGRATION], now)
    assert not [words for words in cluster.log if words.startswith("INSERT")]


def test_a_change_without_a_node_to_ask_who_has_it_does_not_count() -> None:
    cluster = Cluster()
    cluster.node = None
    with pytest.raises(StoreUnavailable, match="was lost while its schema was changed"):
        migrate(Session(cluster), [MIGRATION], now)
