"""Nodes in processes of their own. At the end of each, its log must hold no fault."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.process import NodeProcess

StartNode = Callable[..., NodeProcess]


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
