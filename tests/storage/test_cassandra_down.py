"""What the Cassandra store does while its server stands still, is killed, or is not there.

tests/system/test_cassandra.py has a node that waits for it.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from deploy.local.cassandra.errors import Missing
from deploy.local.cassandra.node import CassandraNode, NodeOptions
from storage import StoreUnavailable, append
from storage.cassandra import CassandraStore, open_cassandra
from storage.cassandra_settings import CassandraSettings
from tests.contracts.store import ALICE, ROOM, message, seqs
from tests.rig import installed
from tests.rig.ports import free_port

pytestmark = pytest.mark.system

HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds until a server that comes back must be used again; it takes few


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraNode]:
    """A server of this file's own. Each test leaves it serving."""
    options = NodeOptions(HOST, free_port(), free_port(), (HOST,), launcher=("setpriv", "--pdeathsig", "KILL"))
    made = CassandraNode(tmp_path_factory.mktemp("cassandra"), options)
    try:
        made.start()
        made.wait()
    except Missing as error:
        installed.give_up(str(error))
    yield made
    made.kill()


@pytest.fixture
def settings(node: CassandraNode, request: pytest.FixtureRequest) -> CassandraSettings:
    """A keyspace of the test's own, and little patience."""
    name = request.node.name.removeprefix("test_")[:40]
    return CassandraSettings(
        contact_points=(HOST,),
        port=node.options.port,
        keyspace=name,
        replication_factor=1,
        request_seconds=1.0,
        connect_seconds=1.0,
    )


@pytest.fixture
async def store(settings: CassandraSettings) -> AsyncIterator[CassandraStore]:
    """An open store with an empty keyspace."""
    async with open_cassandra(settings) as opened:
        yield opened


async def when_it_answers(store: CassandraStore) -> None:
    """Return when the store can be used again."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await store.check()
            except StoreUnavailable:
                await trio.sleep(0.1)


async def test_a_server_that_stands_still_is_unavailable_and_what_was_sent_is_settled(
    node: CassandraNode, store: CassandraStore
) -> None:
    await append(store, [message(1), message(2)])
    node.pause()
    reported: list[tuple[int, Exception | None]] = []
    told = trio.Event()

    def report(seq: int, error: Exception | None) -> None:
        reported.append((seq, error))
        if seq == 9:
            told.set()

    for seq in range(3, 10):
        store.submit([message(seq)], lambda error, seq=seq: report(seq, error))  # type: ignore[misc]
    await told.wait()
    assert [seq for seq, _ in reported] == list(range(3, 10))
    assert all(isinstance(error, StoreUnavailable) for _, error in reported)
    with pytest.raises(StoreUnavailable):
        await store.head(ROOM)  # where the channel ends is not known
    with pytest.raises(StoreUnavailable):
        await store.check()
    node.resume()
    await when_it_answers(store)
    head = await store.head(ROOM)
    assert head is not None
    kept = await seqs(store)
    # All or nothing of what was one batch, and what head says is the end.
    assert kept in (list(range(1, 10)), [1, 2])
    assert head.seq == kept[-1]
    await append(store, [message(head.seq + 1)])
    assert await seqs(store) == [*kept, head.seq + 1]


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    node: CassandraNode, store: CassandraStore
) -> None:
    acknowledged = 0
    busy, failed = trio.Event(), trio.Event()

    async def write() -> None:
        nonlocal acknowledged
        try:
            while True:
                await append(store, [message(acknowledged + 1)])
                acknowledged += 1
                if acknowledged == 50:
                    busy.set()
        except StoreUnavailable:
            failed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await busy.wait()
        await trio.to_thread.run_sync(node.kill)
        await failed.wait()
    with pytest.raises(StoreUnavailable):
        await store.history(ROOM, limit=10)
    node.start()
    await trio.to_thread.run_sync(node.wait)
    await when_it_answers(store)
    head = await store.head(ROOM)
    assert head is not None
    assert head.seq in (acknowledged, acknowledged + 1)
    assert await seqs(store) == list(range(1, head.seq + 1))
    await append(store, [message(head.seq + 1, key="after")])
    found = await store.find(ALICE, "after", 0)
    assert found is not None


async def test_an_address_is_enough_to_say_where_it_is_looked_for(tmp_path: Path) -> None:
    nobody = CassandraSettings(contact_points=("127.0.0.1",), port=free_port(), keyspace="chatd", connect_seconds=1.0)
    with pytest.raises(StoreUnavailable, match=str(nobody.port)):
        async with open_cassandra(nobody, waits=False):
            pass
