"""A Cassandra that asks for a password and is reached by TLS only: who may come in, and what the others are told."""

import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from chatd.cassandra import NamespaceRules, cassandra_settings
from chatd.config import Config, load
from chatd.doctor import Verdict
from chatd.doctor.cassandra import check_cassandra
from deploy.local.cassandra.errors import Missing
from deploy.local.cassandra.node import CassandraNode, NodeOptions
from storage import StoreUnavailable, append
from storage.cassandra import open_cassandra
from storage.cassandra_line import Entry, LineBroken, connect
from tests.contracts.store import message, seqs
from tests.fakes.certificate import make_certificate
from tests.rig import installed
from tests.rig.ports import free_port
from tests.system.process import Settings, chatd, environment

pytestmark = pytest.mark.system

HOST = "127.0.0.1"

# `authenticator` and `client_encryption_options` are what operators set; the first account, cassandra with the password
# cassandra, is made by Cassandra itself, ten seconds after the start if it is not told otherwise.
SECURED = """
authenticator: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: {keystore}
"""
AT_ONCE = "-Dcassandra.superuser_setup_delay_ms=0"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificate of the server, which signed itself; its key is beside it."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[CassandraNode]:
    """A node that lets nobody in without a password, and nobody by plain connections."""
    keystore = authority.with_name("keystore.pem")
    keystore.write_text(authority.with_name("key.pem").read_text() + authority.read_text())
    options = NodeOptions(
        HOST,
        free_port(),
        free_port(),
        (HOST,),
        java_options=(AT_ONCE,),
        launcher=("setpriv", "--pdeathsig", "KILL"),
        more_yaml=SECURED.format(keystore=keystore),
        authority=str(authority),
    )
    node = CassandraNode(tmp_path_factory.mktemp("cassandra"), options)
    try:
        node.start()
        node.wait()
    except Missing as error:
        installed.give_up(str(error))
    yield node
    node.kill()


@pytest.fixture
def right(server: CassandraNode, authority: Path, tmp_path: Path) -> Settings:
    """Settings with which everything is as it should be."""
    return {
        "server.var": tmp_path / "var",
        "server.port": 0,
        "store.kind": "cassandra",
        "cassandra.port": server.options.port,
        "cassandra.keyspace": "secured",
        "cassandra.replication_factor": 1,
        "cassandra.connect_seconds": 2.0,
        "cassandra.username": "cassandra",
        "cassandra.password": "cassandra",
        "cassandra.tls.enabled": True,
        "cassandra.tls.authority": authority,
    }


def config_of(settings: Settings) -> Config:
    """Return the configuration that a process with these settings has."""
    names = environment(settings).items()
    return load(None, {name: value for name, value in names if name.startswith("CHATD_")})


async def test_the_right_password_and_authority_let_chatd_in(right: Settings) -> None:
    config = config_of(right)
    async with open_cassandra(cassandra_settings(config, NamespaceRules(config)), waits=False) as store:
        await append(store, [message(1), message(2)])
        assert await seqs(store) == [1, 2]
    findings = await check_cassandra(config)
    assert [(finding.subject, finding.verdict) for finding in findings] == [
        (f"cassandra {HOST}", Verdict.OK),
        ("keyspace secured", Verdict.WARNING),  # it has one copy of each row
    ]


async def test_a_line_for_batches_has_the_same_password_and_trust(right: Settings, authority: Path) -> None:
    port, trusting = int(str(right["cassandra.port"])), ssl.create_default_context(cafile=str(authority))
    entry = Entry(HOST, port, trusting, "cassandra", "cassandra")
    async with trio.open_nursery() as nursery:
        nursery.start_soon((await connect(entry)).run)
        nursery.cancel_scope.cancel()
    with pytest.raises(LineBroken, match="incorrect"):
        await connect(replace(entry, password="wrong"))
    with pytest.raises(LineBroken, match="CERTIFICATE_VERIFY_FAILED"):
        await connect(replace(entry, tls=ssl.create_default_context()))


REFUSED: list[tuple[Settings, str]] = [
    ({"cassandra.password": "wrong"}, "the Cassandra cluster refuses the password: .*incorrect"),
    ({"cassandra.username": ""}, "the Cassandra cluster asks for a password: set cassandra.username and"),
    ({"cassandra.tls.authority": ""}, r"the certificate of a Cassandra node is not trusted: self-signed certificate: "),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
async def test_who_is_refused_or_does_not_trust_the_server_gets_a_line_and_ends(
    right: Settings, change: Settings, said: str, tmp_path: Path
) -> None:
    served = await trio.to_thread.run_sync(partial(chatd, tmp_path, "serve", settings=right | change))
    assert (served.returncode, served.stdout) == (1, "")
    assert re.fullmatch(f"chatd: {said}.*\n", served.stderr)
    (finding,) = await check_cassandra(config_of(right | change))
    assert finding.verdict is Verdict.FAILURE
    assert re.match(said, finding.seen)


async def test_a_plain_connection_is_like_a_server_that_is_not_there_and_waited_for(right: Settings) -> None:
    config = config_of(right | {"cassandra.tls.enabled": False})
    with pytest.raises(StoreUnavailable, match=r"no node of the Cassandra cluster answers \(.*\)"):
        async with open_cassandra(cassandra_settings(config, NamespaceRules(config)), waits=False):
            pass
    (finding,) = await check_cassandra(config)
    assert finding.verdict is Verdict.FAILURE
    assert "no node of the Cassandra cluster answers" in finding.seen
    assert "cassandra.tls" in finding.advice
