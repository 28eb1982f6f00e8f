"""One node: what it is started with, and what is said when that fails. Java is a script here, or not started."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.cassandra import jars
from deploy.local.cassandra.errors import LocalCassandraError
from deploy.local.cassandra.node import COMMITLOG_SYNC, CassandraNode, NodeOptions
from tests.deploy.local.cassandra.conftest import MakeProgram
from tests.rig.ports import free_port


@pytest.fixture
def node(home: Path) -> Iterator[CassandraNode]:
    """Return a node whose jars are there; it is not started. It is ended after the test."""
    (home / "cache" / "chatd" / f"cassandra-{jars.version()}").mkdir(parents=True)
    (jars.folder() / "jamm-0.4.0.jar").touch()
    made = CassandraNode(home / "n1", NodeOptions(port=free_port()))
    yield made
    made.kill()


def _java(then: str) -> str:
    return f"""[ "$1" = -version ] && echo 'openjdk version "17.0.1"' >&2 && exit\n{then}"""


def test_java_that_ends_is_told_with_what_it_said(node: CassandraNode, program: MakeProgram) -> None:
    program("java", _java("echo 'no memory'; exit 1"))
    node.start()
    with pytest.raises(LocalCassandraError, match=r"(?s)n1 ended while it started.*no memory"):
        node.wait()
    assert node.pid is None


def test_java_that_does_not_answer_is_ended(node: CassandraNode, program: MakeProgram) -> None:
    program("java", _java("exec sleep 1000"))
    node.start()
    pid = node.pid
    with pytest.raises(LocalCassandraError, match="n1 did not answer within 0 s"):
        node.wait(0.01)
    assert pid is not None
    assert node.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_node_that_runs_is_not_started_again(node: CassandraNode, program: MakeProgram, home: Path) -> None:
    os.mkfifo(home / "told")
    program("java", _java(f"echo here > {home}/told; kill -STOP $$"))  # it stays, and has the node's arguments
    node.start()
    (home / "told").read_text()
    again = CassandraNode(node.directory, node.options)
    assert again.pid == node.pid
    with pytest.raises(LocalCassandraError, match="n1 runs already"):
        again.start()
    node.kill()
    assert (again.pid, node.pid) == (None, None)


def test_another_process_with_its_number_is_not_taken_for_it(node: CassandraNode) -> None:
    node.directory.mkdir()
    (node.directory / "pid").write_text(f"{os.getpid()}\n")
    assert node.pid is None
    node.stop()
    assert not (node.directory / "pid").exists()


@pytest.mark.parametrize("mode", COMMITLOG_SYNC)
def test_the_configuration_has_no_word_left_to_fill_in(home: Path, program: MakeProgram, mode: str) -> None:
    jars.folder().mkdir(parents=True)
    (jars.folder() / "jamm-0.4.0.jar").touch()
    program("java", _java("exit 1"))
    node = CassandraNode(home / "n2", NodeOptions(port=free_port(), commitlog_sync=mode, token=-7, request_threads=9))
    node.start()
    with pytest.raises(LocalCassandraError):
        node.wait()
    text = (node.directory / "conf" / "cassandra.yaml").read_text()
    settings = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in settings if "@" in line] == []
    assert f"commitlog_sync: {mode}" in settings
    assert "initial_token: -7" in settings
    assert "native_transport_max_threads: 9" in settings
    assert "concurrent_writes: 16" in settings


@pytest.mark.parametrize("optimizes", [False, True])
def test_only_a_node_for_a_long_run_has_both_compilers_and_short_pauses(
    home: Path, program: MakeProgram, optimizes: bool
) -> None:
    jars.folder().mkdir(parents=True)
    (jars.folder() / "jamm-0.4.0.jar").touch()
    program("java", _java('echo "$@"; exit 1'))
    node = CassandraNode(home / "n3", NodeOptions(port=free_port(), optimizes=optimizes))
    node.start()
    with pytest.raises(LocalCassandraError):
        node.wait()
    assert ("-XX:TieredStopAtLevel=1" not in node.log) is optimizes
    assert ("-XX:+UseParallelGC" in node.log) is optimizes
    assert ("-XX:+UseSerialGC" not in node.log) is optimizes
