"""What other tests take for granted about the Redis servers that they start."""

from pathlib import Path

import pytest
import redis

from tests.conftest import StartRedis
from tests.fakes.certificate import make_certificate
from tests.rig.redis import NO_RETRY, RedisCluster, RedisServer

pytestmark = pytest.mark.system


def test_the_shared_server_comes_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("left", "over")
        redis_server.flush()
        assert client.dbsize() == 0


def test_a_write_outlives_a_kill_only_where_it_was_synced(start_redis: StartRedis) -> None:
    kept, forgotten = start_redis(appendonly=True), start_redis()
    for server in (kept, forgotten):
        with server.client() as client:
            client.set("name", "value")
        server.kill()
        server.start()
    with kept.client() as client:
        assert client.get("name") == "value"
    with forgotten.client() as client:
        assert client.get("name") is None


def test_a_paused_server_is_silent_until_it_is_resumed(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.ping()
        server.pause()
        connection = redis.Redis(port=server.port, socket_timeout=0.05, retry=NO_RETRY)
        with connection, pytest.raises(redis.TimeoutError):
            connection.ping()
        server.resume()
        assert client.ping()


def test_a_paused_server_can_be_stopped(start_redis: StartRedis) -> None:
    server = start_redis()
    server.pause()
    server.stop()
    assert not server.running


def test_it_speaks_tls_and_asks_for_a_password(start_redis: StartRedis, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_redis(certificate=(certificate, key), password="open sesame")
    with server.client() as client:
        assert client.ping()
    stranger = redis.Redis(port=server.port, ssl=True, ssl_ca_certs=str(certificate), retry=NO_RETRY)
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_three_nodes_make_a_cluster_that_survives_a_restart_of_one(redis_cluster: RedisCluster) -> None:
    node = redis_cluster.nodes[1]
    node.restart()
    redis_cluster.wait_until_whole()
    with node.client() as client:
        assert client.cluster("KEYSLOT", "{s1}:seq") == client.cluster("KEYSLOT", "{s1}:log")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, directives={"maxmemory-policy": "no-such-policy"})
    with pytest.raises(RuntimeError, match="did not start"):
        server.start()
    assert not server.running
