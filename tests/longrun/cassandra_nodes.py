"""Three nodes of Cassandra under load, while nodes are killed, come back, stand still, and have their clocks set back.

    python -m tests.longrun.cassandra_nodes --messages 20000 --rounds 5

starts a cluster of its own in a temporary folder (3 GB of memory), prints what it does, and exits with 1 if a message
that was acknowledged is missing, is there twice, or is out of order. tests/system/test_cassandra_nodes.py is a short
round.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import trio

from storage import Store
from storage.cassandra import open_cassandra
from storage.cassandra_buckets import PARTITION_BYTES
from storage.cassandra_settings import CassandraSettings, NamespaceRule
from tests.rig.cassandra import CassandraCluster
from tests.rig.history import History, Writers, faults

CHANNELS = 20
HELD_BACK_SECONDS = 60.0
BUCKET = 16  # messages, so that every channel goes on in a next partition while each trouble lasts
_SHOWN = 10


async def trouble(cluster: CassandraCluster, writers: Writers, messages: int) -> None:
    """Make each kind of trouble once, with so many messages acknowledged before, during and after each."""
    steps = iter(range(len(cluster.nodes)))
    await writers.write_more(messages)

    killed = next(steps)
    cluster.nodes[killed].kill()
    _say(f"{cluster.nodes[killed].name} is killed")
    await writers.write_more(messages)
    await cluster.start_node(killed)
    _say(f"{cluster.nodes[killed].name} is back")
    await writers.write_more(messages)

    held_back = next(steps)
    cluster.clocks[held_back].set_back(HELD_BACK_SECONDS)
    _say(f"the clock of {cluster.nodes[held_back].name} is set back by {HELD_BACK_SECONDS:.0f} s")
    await writers.write_more(messages)
    cluster.clocks[held_back].set_back(0)
    await writers.write_more(messages)

    paused = next(steps)
    cluster.nodes[paused].pause()
    _say(f"{cluster.nodes[paused].name} stands still")
    await writers.write_more(messages)
    cluster.nodes[paused].resume()
    await writers.write_more(messages)


async def live_through(
    cluster: CassandraCluster, store: Store, messages: int, rounds: int = 1, pause_seconds: float = 0.0
) -> History:
    """Load the store while there is trouble; return what was acknowledged.

    Each writer rests for `pause_seconds` between two writes; without it they write as fast as they are answered.
    """
    writers = Writers(store, CHANNELS, pause_seconds)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writers.run)
        for _ in range(rounds):
            await trouble(cluster, writers, messages)
            _say(str(writers.history))
        writers.stop()
    return writers.history


def settings(cluster: CassandraCluster) -> CassandraSettings:
    """Return how chatd is to find the cluster, with three copies of each row, and small partitions."""
    rule = NamespaceRule(data_bytes=PARTITION_BYTES // (BUCKET + 1))
    return CassandraSettings(
        contact_points=tuple(cluster.addresses), port=cluster.port, replication_factor=3, rules=lambda _: rule
    )


async def _main(messages: int, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        cluster = CassandraCluster(Path(folder))
        try:
            cluster.start()
            _say("three nodes serve")
            async with open_cassandra(settings(cluster)) as store:
                history = await live_through(cluster, store, messages, rounds)
                return await faults(store, history)
        finally:
            cluster.stop()


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="Cassandra nodes in trouble, under load.")
    parser.add_argument("--messages", type=int, default=20_000, help="before, during and after each trouble")
    parser.add_argument("--rounds", type=int, default=5, help="of all troubles")
    arguments = parser.parse_args()
    found = trio.run(_main, arguments.messages, arguments.rounds)
    for line in found[:_SHOWN]:
        _say(line)
    if found:
        sys.exit(f"{len(found)} faults")
    _say("every acknowledged message is kept once and in order")


if __name__ == "__main__":
    main()
