"""Speaking to real servers: one, several, a cluster, with TLS and a password, behind a Sentinel; and their failures."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import redis
import trio
from structlog.testing import capture_logs

from chatd.config import Redis, RedisTls
from chatd.redis import RedisBusy, RedisRefused, RedisUnavailable
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers
from tests.conftest import StartRedis
from tests.fakes.certificate import make_certificate
from tests.rig.cluster import until
from tests.rig.ports import free_port
from tests.rig.redis import NO_RETRY, RedisCluster, RedisServer
from tests.rig.sentinel import running_sentinel

pytestmark = pytest.mark.system

PATIENCE_SECONDS = 10.0


@asynccontextmanager
async def connected(*addresses: str, **keys: object) -> AsyncIterator[Servers]:
    """Connect as the configuration says."""
    config = msgspec.structs.replace(Redis(servers=addresses, reply_seconds=1.0), **keys)
    servers = Servers(config, "test")
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        await servers.start()
        yield servers
        nursery.cancel_scope.cancel()


class Ear:
    """Hears one channel."""

    def __init__(self) -> None:
        self.heard_all: list[bytes] = []
        self.events: list[str] = []
        self._came = trio.Event()

    def subscribed(self) -> None:
        """Note it."""
        self._note("subscribed")

    def lost(self) -> None:
        """Note it."""
        self._note("lost")

    def heard(self, payload: bytes) -> None:
        """Note it."""
        self.heard_all.append(payload)
        self._note("heard")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._came.set()
        self._came = trio.Event()

    async def wait_for(self, event: str, times: int = 1) -> None:
        """Return when something happened so often."""
        with trio.fail_after(PATIENCE_SECONDS):
            while self.events.count(event) < times:
                await self._came.wait()


async def listens(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def use_every_shard(servers: Servers) -> None:
    """Write, read and hear something in every shard."""
    ears = {}
    for shard in range(servers.shards.count):
        key = servers.shards.key(shard, "k")
        assert await servers.call(shard, "SET", key, shard) == b"OK"
        ears[shard] = Ear()
        servers.subscribe(shard, key, ears[shard])
    for shard, ear in ears.items():
        await ear.wait_for("subscribed")
        assert await servers.call(shard, "GET", servers.shards.key(shard, "k")) == b"%d" % shard
        await servers.call(shard, "SPUBLISH", servers.shards.key(shard, "k"), f"to {shard}")
    for shard, ear in ears.items():
        await ear.wait_for("heard")
        assert ear.heard_all == [b"to %d" % shard]


async def test_one_server_has_all_shards(redis_server: RedisServer) -> None:
    async with connected(redis_server.address, shards=8) as servers:
        await use_every_shard(servers)
        assert servers.statistics().servers_up == 1


async def test_several_servers_share_the_shards(start_redis: StartRedis) -> None:
    one, two = start_redis(), start_redis()
    async with connected(one.address, two.address, shards=16) as servers:
        await use_every_shard(servers)
    sizes = []
    for server in (one, two):
        with server.client() as client:
            sizes.append(client.dbsize())
    assert sum(sizes) == 16
    assert min(sizes) > 0


async def test_a_cluster_has_each_shard_on_the_master_of_its_slot(redis_cluster: RedisCluster) -> None:
    async with connected(redis_cluster.addresses[0], kind="cluster", shards=16) as servers:
        await use_every_shard(servers)
        assert servers.statistics().servers == 3


async def test_tls_and_a_password_are_spoken(start_redis: StartRedis, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_redis(certificate=(certificate, key), password="open sesame")
    tls = RedisTls(enabled=True, authority=str(certificate))
    async with connected(server.address, password="open sesame", tls=tls, shards=4) as servers:
        await use_every_shard(servers)
    for keys in ({"password": "wrong", "tls": tls}, {"password": "open sesame", "tls": RedisTls(enabled=True)}):
        with pytest.RaisesGroup(RedisUnavailable):
            async with connected(server.address, shards=4, connect_seconds=0.5, **keys):
                pass


async def test_a_sentinel_says_where_the_server_is(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    port = free_port("127.0.0.1")
    (tmp_path / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor chatd {server.host} {server.port} 1\n"
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, check=False, capture_stdout=True),
            ["redis-server", str(tmp_path / "sentinel.conf"), "--sentinel"],
        )
        with trio.fail_after(PATIENCE_SECONDS):
            while not await listens(port):  # noqa: ASYNC110
                await trio.sleep(0.01)
        async with connected(f"127.0.0.1:{port}", kind="sentinel", shards=4) as servers:
            await use_every_shard(servers)
        process.kill()


async def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with pytest.RaisesGroup(pytest.RaisesExc(RedisUnavailable, match="cannot be reached")):
        async with connected(f"127.0.0.1:{port}", connect_seconds=0.3):
            pass


@pytest.mark.parametrize(("kind", "reason"), [("cluster", "cluster support disabled"), ("sentinel", "SENTINEL")])
async def test_a_server_of_another_kind_is_said(redis_server: RedisServer, kind: str, reason: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(RedisUnavailable, match=reason)):
        async with connected(redis_server.address, kind=kind):
            pass


async def test_a_server_that_does_not_say_its_name_in_an_error_is_named(start_redis: StartRedis) -> None:
    server = start_redis(password="open sesame")
    with pytest.RaisesGroup(pytest.RaisesExc(RedisUnavailable, match=f"{server.address}: NOAUTH")):
        async with connected(server.address, connect_seconds=0.5):
            pass


async def test_a_topology_that_cannot_be_asked_any_more_ends_nothing(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    with running_sentinel(tmp_path, server) as address:
        host, _, port = address.partition(":")
        async with connected(address, kind="sentinel", shards=4) as servers:
            with redis.Redis(host, int(port), retry=NO_RETRY) as sentinel:
                sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">another password")
                sentinel.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # they stay logged in
            with capture_logs() as logged:
                servers.look_again()
                await until(lambda: any(line["event"] == "where the shards are is not known" for line in logged))
            await use_every_shard(servers)


async def test_a_refused_command_and_a_forgotten_script(redis_server: RedisServer) -> None:
    script = Script("settle", keys=1)
    async with connected(redis_server.address, shards=2) as servers:
        with pytest.raises(RedisRefused, match="wrong number"):
            await servers.call(0, "GET")
        for _ in range(2):
            await servers.run_script(0, script, (servers.shards.key(0, "shard"), 1000))
            await servers.call(0, "SCRIPT", "FLUSH")


async def test_open_commands_of_a_lost_connection_are_answered_and_it_comes_back(start_redis: StartRedis) -> None:
    server = start_redis()
    async with connected(server.address, shards=2) as servers:
        ear = Ear()
        servers.subscribe(1, servers.shards.key(1, "c"), ear)
        await ear.wait_for("subscribed")
        server.pause()
        with pytest.raises(RedisUnavailable, match="was lost: no answer for 1 seconds"):
            await servers.call(0, "PING")
        server.resume()
        await servers.wait_up(0)
        assert await servers.call(0, "PING") == b"PONG"
        run_id = servers.line(0).run_id
        server.restart()
        await ear.wait_for("lost")
        await ear.wait_for("subscribed", 2)
        await servers.wait_up(0)
        assert servers.line(0).run_id != run_id
        await servers.call(1, "SPUBLISH", servers.shards.key(1, "c"), "again")
        await ear.wait_for("heard")


async def test_more_commands_than_may_wait_are_refused(redis_server: RedisServer) -> None:
    async with connected(redis_server.address, shards=1, waiting_calls=3) as servers:
        answers: list[object] = []
        for _ in range(3):
            servers.send(0, b"*1\r\n$4\r\nPING\r\n", answers.append)
        with pytest.raises(RedisBusy):
            servers.send(0, b"*1\r\n$4\r\nPING\r\n", answers.append)
        while len(answers) < 3:  # noqa: ASYNC110
            await trio.sleep(0.001)
        assert answers == [b"PONG"] * 3


async def test_a_server_that_is_away_is_said_to_be_missing_after_a_grace(start_redis: StartRedis) -> None:
    here, away = start_redis(), start_redis()
    async with connected(here.address, away.address, away_seconds=3600.0) as servers:

        async def until(condition: Callable[[], bool]) -> None:
            with trio.fail_after(PATIENCE_SECONDS):
                while not condition():  # noqa: ASYNC110 - nothing tells of it
                    await trio.sleep(0.01)

        away.kill()
        await until(lambda: servers.statistics().servers_up == 1)
        assert servers.missing() is None
        servers.config = msgspec.structs.replace(servers.config, away_seconds=0.01)
        await until(lambda: servers.missing() is not None)
        assert servers.missing() == f"Redis at {away.address} cannot be reached"
        away.restart()
        await until(lambda: servers.missing() is None)
