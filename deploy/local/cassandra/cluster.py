"""Several nodes that make one cluster, on addresses of loopback that follow each other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from deploy.local.cassandra import jars
from deploy.local.cassandra.node import START_SECONDS, CassandraNode, NodeOptions

_RING = 2**64  # the tokens of the Murmur3 partitioner, from -2**63 on


class LocalCluster:
    """Nodes `n1`, `n2`, … in one directory. All are seeds, so they may start in any order, also at the same time."""

    def __init__(
        self, directory: Path, nodes: int = 1, options: NodeOptions | None = None, network: str = "127.0.0"
    ) -> None:
        """Prepare a cluster.

        Args:
            directory: Where each node gets a directory.
            nodes: How many there are.
            options: What all of them have in common; addresses, seeds and tokens are filled in.
            network: The first three numbers of their addresses; the last one counts from 1. All of 127 is loopback on
                Linux; elsewhere addresses but 127.0.0.1 must be added to it first.
        """
        addresses = tuple(f"{network}.{number + 1}" for number in range(nodes))
        common = options or NodeOptions()
        self.nodes = [
            CassandraNode(
                directory / f"n{number + 1}",
                replace(common, address=address, seeds=addresses, token=_RING * number // nodes - _RING // 2),
            )
            for number, address in enumerate(addresses)
        ]

    @property
    def addresses(self) -> list[str]:
        """The address of each node."""
        return [node.options.address for node in self.nodes]

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start the nodes that do not run, all at once, and return when each serves and sees all others.

        Raises:
            LocalCassandraError: One could not be started; the others go on.
        """
        jars.fetch()
        down = [node for node in self.nodes if node.pid is None]
        for node in down:
            node.start()
        for node in down:
            node.wait(seconds)
        if len(self.nodes) > 1:  # one alone has all there are; the question below needs copies on others
            for node in self.nodes:
                node.wait_for_all(seconds)

    def stop(self) -> None:
        """Ask all nodes to end, and wait until they did."""
        _each(self.nodes, CassandraNode.stop)

    def kill(self) -> None:
        """End all nodes at once, as a crash of the machine's power would not: what they wrote is with the kernel."""
        _each(self.nodes, CassandraNode.kill)


def _each(nodes: Sequence[CassandraNode], what: Callable[[CassandraNode], None]) -> None:
    with ThreadPoolExecutor(len(nodes)) as threads:
        list(threads.map(what, nodes))
