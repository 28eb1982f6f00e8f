"""Three nodes with all rows on each, under load: one is killed and comes back, one has a wrong time, one stands.

Channels go from partition to partition all the time, so also while a node is away.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.cassandra.errors import Missing
from storage.cassandra import open_cassandra
from storage.cassandra_buckets import width_for
from tests.longrun.cassandra_nodes import BUCKET, CHANNELS, live_through, settings
from tests.rig import installed
from tests.rig.cassandra import CassandraCluster
from tests.rig.history import faults

pytestmark = pytest.mark.system

MESSAGES = 600  # before, during and after each trouble
PAUSE_SECONDS = 0.1  # of each writer: what is written while a node starts has to be read and compared afterwards


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[CassandraCluster]:
    """Return three nodes that run."""
    made = CassandraCluster(tmp_path)
    try:
        yield made.start()
    except Missing as error:
        installed.give_up(str(error))
    finally:
        made.stop()


async def test_no_trouble_of_one_node_loses_or_repeats_or_swaps_a_message(cluster: CassandraCluster) -> None:
    given = settings(cluster)
    assert width_for(given.rules("room").data_bytes) == BUCKET
    assert MESSAGES > BUCKET * CHANNELS  # so each channel, on the average, passes a border in each trouble
    async with open_cassandra(given) as store:
        history = await live_through(cluster, store, MESSAGES, pause_seconds=PAUSE_SECONDS)
        assert await faults(store, history) == []
    assert max(history.tries) <= 2, history.errors
