"""Several nodes: their addresses, and their parts of the ring."""

from pathlib import Path

import pytest

from deploy.local.cassandra import jars
from deploy.local.cassandra.cluster import LocalCluster
from deploy.local.cassandra.node import CassandraNode, NodeOptions


def test_three_nodes_share_the_ring_evenly_and_know_each_other(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, 3, NodeOptions(port=9999), network="127.1.2")
    assert cluster.addresses == ["127.1.2.1", "127.1.2.2", "127.1.2.3"]
    assert [node.options.token for node in cluster.nodes] == [-(2**63), -3074457345618258603, 3074457345618258602]
    assert {node.options.seeds for node in cluster.nodes} == {tuple(cluster.addresses)}
    assert {node.options.port for node in cluster.nodes} == {9999}


def test_one_node_has_all_of_the_ring(tmp_path: Path) -> None:
    (node,) = LocalCluster(tmp_path).nodes
    assert (node.options.address, node.options.port) == ("127.0.0.1", 9042)


@pytest.mark.parametrize(("nodes", "asked"), [(1, 0), (3, 3)])
def test_who_has_no_others_does_not_wait_for_them(
    nodes: int, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(jars, "fetch", lambda: None)
    monkeypatch.setattr(CassandraNode, "start", lambda _: None)
    monkeypatch.setattr(CassandraNode, "wait", lambda *_: None)
    monkeypatch.setattr(CassandraNode, "wait_for_all", lambda node, _: waited.append(node.name))
    LocalCluster(tmp_path, nodes).start()
    assert len(waited) == asked
