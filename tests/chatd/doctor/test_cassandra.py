"""`chatd doctor` and Cassandra: what it says of a real node, and of what a node may be like."""

import pytest

from chatd.config import Cassandra, Config, Store
from chatd.doctor import Finding, Verdict
from chatd.doctor.cassandra import (
    check_cassandra,
    judge_batches,
    judge_commit_log,
    judge_copies,
    judge_schema,
    judge_up,
    judge_version,
)
from chatd.doctor.encryption import check_encryption
from storage.cassandra import open_cassandra
from storage.cassandra_settings import CassandraSettings
from tests.rig.cassandra import CassandraServer, Keyspace
from tests.rig.ports import free_port


def _config(port: int, keyspace: str) -> Config:
    cassandra = Cassandra(nodes=("127.0.0.1",), port=port, keyspace=keyspace, connect_seconds=2.0)
    return Config(store=Store(kind="cassandra"), cassandra=cassandra)


def _verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.subject: finding.verdict for finding in findings}


# A real node.


@pytest.mark.system
async def test_a_node_that_syncs_its_log_is_good_and_a_single_copy_is_warned_of(cassandra: Keyspace) -> None:
    settings = CassandraSettings(port=cassandra.port, keyspace=cassandra.name, replication_factor=1)
    async with open_cassandra(settings):
        pass
    assert _verdicts(await check_cassandra(_config(cassandra.port, cassandra.name))) == {
        "cassandra 127.0.0.1": Verdict.OK,
        f"keyspace {cassandra.name}": Verdict.WARNING,
    }


@pytest.mark.system
async def test_an_older_schema_is_warned_of(cassandra: Keyspace) -> None:
    findings = await check_cassandra(_config(cassandra.port, cassandra.name))
    assert "are not applied" in findings[-1].seen


@pytest.mark.system
async def test_looking_makes_no_keyspace(cassandra_server: CassandraServer) -> None:
    config = _config(cassandra_server.port, "never_made")
    assert await check_encryption(config) == []
    findings = await check_cassandra(config)
    assert "cannot be made with cassandra.replication_factor 3" in findings[-1].seen
    names = [row.keyspace_name for row in cassandra_server.session.execute("SELECT * FROM system_schema.keyspaces")]
    assert "never_made" not in names


async def test_a_cluster_that_cannot_be_reached_is_a_failure() -> None:
    assert _verdicts(await check_cassandra(_config(free_port(), "chatd"))) == {"cassandra": Verdict.FAILURE}


async def test_without_cassandra_there_is_nothing_to_look_at() -> None:
    assert await check_cassandra(Config()) == []


# What a node may be like.

PERIODIC = {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}


def test_a_node_that_answers_before_a_row_is_on_disk_is_warned_of_with_the_reason() -> None:
    (finding,) = judge_commit_log("cassandra", PERIODIC)
    assert finding.verdict is Verdict.WARNING
    assert "a crash loses up to 10000ms of acknowledged messages" in finding.seen
    assert "commitlog_sync: batch" in finding.advice


@pytest.mark.parametrize(
    ("findings", "verdicts"),
    [
        (judge_commit_log("", {"commitlog_sync": "batch"}), []),
        (judge_commit_log("", {"commitlog_sync": "group"}), []),
        (judge_commit_log("", {}), []),
        (judge_up("", True), []),
        (judge_up("", False), [Verdict.WARNING]),
        (judge_version("", (5, 0, 9)), []),
        (judge_version("", (4, 1, 3)), [Verdict.WARNING]),
        (judge_version("", (3, 11, 17)), [Verdict.FAILURE]),
        (judge_batches("", {"batch_size_fail_threshold": "50KiB"}, 40_000), []),
        (judge_batches("", {"batch_size_fail_threshold": "50KiB"}, 60_000), [Verdict.WARNING]),
        (judge_batches("", {}, 60_000), []),
        (judge_copies(Cassandra(), {"dc1": 3}, 3), [Verdict.OK]),
        (judge_copies(Cassandra(), {"dc1": 2}, 3), [Verdict.WARNING]),
        (judge_copies(Cassandra(datacenter="dc2"), {"dc1": 3, "dc2": 1}, 3), [Verdict.WARNING]),
        (judge_copies(Cassandra(consistency="local_one"), {"dc1": 3}, 3), [Verdict.WARNING]),
        (judge_copies(Cassandra(), {}, 3), [Verdict.OK]),
        (judge_copies(Cassandra(), {}, 2), [Verdict.FAILURE]),
        (judge_schema(0), []),
        (judge_schema(2), [Verdict.WARNING]),
    ],
)
def test_a_finding_is_as_bad_as_it_is(findings: list[Finding], verdicts: list[Verdict]) -> None:
    assert [finding.verdict for finding in findings] == verdicts
