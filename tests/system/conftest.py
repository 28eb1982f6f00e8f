"""Nodes in processes of their own. At the end of each, its log must hold no fault."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatd.secret import load_or_create
from tests.system.process import NodeProcess, Settings

StartNode = Callable[..., NodeProcess]


def start_cluster(start_node: StartNode, shared: Settings, count: int) -> list[NodeProcess]:
    """Start nodes of one cluster: one secret, so that they take each other's tokens, and a store of its own each."""
    nodes: list[NodeProcess] = []
    for number in range(count):
        node: NodeProcess = start_node(shared | {"cluster.node": f"node{number}"}, start=False)
        secret = node.directory / "var" / "secret"
        if nodes:
            secret.parent.mkdir(mode=0o700)
            secret.write_bytes((nodes[0].directory / "var" / "secret").read_bytes())
            secret.chmod(0o600)
        else:
            load_or_create(secret)
        nodes.append(node.start())
    return nodes


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Return a function that starts a node with settings (keys such as `limits.head_seconds`) and a config.toml."""
    nodes: list[NodeProcess] = []

    def new(
        settings: dict[str, object] | None = None, config: str = "", *arguments: str, start: bool = True
    ) -> NodeProcess:
        directory = tmp_path / f"node{len(nodes)}"
        directory.mkdir()
        (directory / "config.toml").write_text(config)
        node = NodeProcess(directory, settings, arguments)
        nodes.append(node)
        return node.start() if start else node

    yield new
    for node in nodes:
        node.stop()
    assert [fault for node in nodes for fault in node.faults()] == []
