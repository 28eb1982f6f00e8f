"""`chatd doctor` and Redis: what it says of real servers."""

from pathlib import Path
from typing import Literal

import pytest

from chatd.config import Broker, Config, Redis, RedisTls, Store
from chatd.doctor import Finding, Verdict
from chatd.doctor.checks import check_redis
from chatd.doctor.redis import examine_redis, judge_memory, judge_persistence
from tests.conftest import StartRedis
from tests.fakes.certificate import make_certificate
from tests.rig.redis import RedisCluster, RedisServer


def _verdicts(findings: list[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


@pytest.mark.system
async def test_a_server_that_keeps_its_data_is_good(start_redis: StartRedis) -> None:
    server = start_redis(appendonly=True)
    (finding,) = await examine_redis(Redis(servers=(server.address,)))
    assert (finding.verdict, finding.subject) == (Verdict.OK, f"redis {server.address}")


@pytest.mark.system
@pytest.mark.parametrize(("kind", "warned"), [("sqlite", True), ("cassandra", False)])
async def test_nodes_that_share_redis_and_keep_files_of_their_own_are_warned_of(
    redis_server: RedisServer, kind: Literal["sqlite", "cassandra"], warned: bool
) -> None:
    redis = Redis(servers=(redis_server.address,))
    findings = await check_redis(Config(broker=Broker(kind="redis"), redis=redis, store=Store(kind=kind)))
    assert ('set store.kind to "cassandra"' in [finding.advice for finding in findings]) == warned


@pytest.mark.system
async def test_a_server_that_keeps_nothing_is_warned_of(redis_server: RedisServer) -> None:
    (finding,) = await examine_redis(Redis(servers=(redis_server.address,)))
    assert (finding.verdict, finding.advice) == (Verdict.WARNING, "set appendonly yes")


@pytest.mark.system
async def test_a_server_that_forgets_when_it_is_full_is_warned_of(start_redis: StartRedis) -> None:
    server = start_redis(appendonly=True, directives={"maxmemory-policy": "allkeys-lru"})
    (finding,) = await examine_redis(Redis(servers=(server.address,)))
    assert "maxmemory-policy is allkeys-lru" in finding.seen


@pytest.mark.system
async def test_every_server_has_its_own_lines(start_redis: StartRedis) -> None:
    good, down = start_redis(appendonly=True), start_redis()
    down.stop()
    findings = await examine_redis(Redis(servers=(good.address, down.address)))
    assert {finding.subject: finding.verdict for finding in findings} == {
        f"redis {good.address}": Verdict.OK,
        f"redis {down.address}": Verdict.FAILURE,
    }


@pytest.mark.system
async def test_the_masters_of_a_cluster_are_found_from_one_of_them(redis_cluster: RedisCluster) -> None:
    findings = await examine_redis(Redis(kind="cluster", servers=(redis_cluster.addresses[0],)))
    assert {finding.subject for finding in findings} == {f"redis {address}" for address in redis_cluster.addresses}


@pytest.mark.system
async def test_tls_and_passwords_are_tried(start_redis: StartRedis, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_redis(appendonly=True, certificate=(certificate, key), password="open sesame")
    tls = RedisTls(enabled=True, authority=str(certificate))
    right = Redis(servers=(server.address,), tls=tls, password="open sesame")
    wrong = Redis(servers=(server.address,), tls=tls, password="knock knock")
    unknown = Redis(servers=(server.address,), tls=RedisTls(enabled=True), password="open sesame")
    assert _verdicts(await examine_redis(right)) == [Verdict.OK]
    assert "WRONGPASS" in (await examine_redis(wrong))[0].seen
    assert _verdicts(await examine_redis(unknown)) == [Verdict.FAILURE]


async def test_a_certificate_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    tls = RedisTls(enabled=True, authority=str(tmp_path / "none.pem"))
    assert _verdicts(await examine_redis(Redis(tls=tls))) == [Verdict.FAILURE]


@pytest.mark.parametrize(
    ("information", "snapshots", "verdicts"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, False, []),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, False, [Verdict.FAILURE]),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "ok"}, True, [Verdict.WARNING]),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, True, [Verdict.FAILURE]),
    ],
)
def test_a_server_that_cannot_write_is_a_failure(
    information: dict[str, object], snapshots: bool, verdicts: list[Verdict]
) -> None:
    assert _verdicts(judge_persistence("redis", information, snapshots=snapshots)) == verdicts


@pytest.mark.parametrize(("used", "most", "warned"), [(95, 100, True), (50, 100, False), (95, 0, False)])
def test_a_server_that_is_nearly_full_is_warned_of(used: int, most: int, warned: bool) -> None:
    assert bool(judge_memory("redis", {"used_memory": used, "maxmemory": most})) is warned
