"""Several nodes: their addresses, and their parts of the ring."""

from pathlib import Path

from deploy.local.cassandra.cluster import LocalCluster
from deploy.local.cassandra.node import NodeOptions


def test_three_nodes_share_the_ring_evenly_and_know_each_other(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, 3, NodeOptions(port=9999), network="127.1.2")
    assert cluster.addresses == ["127.1.2.1", "127.1.2.2", "127.1.2.3"]
    assert [node.options.token for node in cluster.nodes] == [-(2**63), -3074457345618258603, 3074457345618258602]
    assert {node.options.seeds for node in cluster.nodes} == {tuple(cluster.addresses)}
    assert {node.options.port for node in cluster.nodes} == {9999}


def test_one_node_has_all_of_the_ring(tmp_path: Path) -> None:
    (node,) = LocalCluster(tmp_path).nodes
    assert (node.options.address, node.options.port) == ("127.0.0.1", 9042)
