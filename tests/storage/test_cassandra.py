"""What the Cassandra store does beyond its contract: buckets, times to live, shared reads, repairs, migrations."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from protocol.names import ChannelName, Seq
from storage import StoreError, StoreUnavailable, append
from storage.cassandra import CassandraStore, open_cassandra
from storage.cassandra_dispatch import Batch, Dispatch, Prepared
from storage.cassandra_inspection import inspect_cluster
from storage.cassandra_lines import Lines
from storage.cassandra_rows import INSERT_KEY, KEPT, PartitionKey, key_values
from storage.cassandra_session import Row, Session
from storage.cassandra_settings import NamespaceRule
from storage.records import Membership, Role
from tests.contracts.store import ALICE, BOB, GROUP, ROOM, message, seqs
from tests.contracts.store_records import revised
from tests.rig.cassandra import CassandraServer, Keyspace
from tests.storage.conftest import cassandra_settings

pytestmark = pytest.mark.system

HOUR_SECONDS = 3600
DAY_MS = 86_400_000
WIDE = 50_000_000  # bytes of a body: so many that a bucket has two messages

Rules = Callable[[str], NamespaceRule]


def rules(**of_namespace: NamespaceRule) -> Rules:
    """Return the rules of these namespaces."""
    return lambda namespace: of_namespace.get(namespace, NamespaceRule())


NARROW = rules(room=NamespaceRule(data_bytes=WIDE))


@pytest.fixture
async def store(empty_keyspace: Keyspace) -> AsyncIterator[CassandraStore]:
    """An open store with an empty keyspace; a bucket of a room has two messages."""
    async with open_cassandra(cassandra_settings(empty_keyspace, rules=NARROW)) as opened:
        yield opened


class Questions:
    """Counts what is read, and lets a test hold it up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.gate: trio.Event | None = None
        read = Session.read

        async def counted(session: Session, query: str, values: Sequence[Any] = ()) -> Sequence[Row]:
            self.asked.append(query)
            if self.gate is not None:
                await self.gate.wait()
            return await read(session, query, values)

        monkeypatch.setattr(Session, "read", counted)

    def of(self, table: str) -> int:
        """Count those of a table."""
        return sum(f"FROM {table} " in query for query in self.asked)


# Buckets.


async def test_a_channel_is_read_across_buckets_both_ways(store: CassandraStore) -> None:
    await append(store, [message(seq) for seq in range(1, 12)])
    assert await seqs(store) == list(range(1, 12))
    for before in range(1, 13):
        page = await store.history(ROOM, before=Seq(before), limit=3)
        assert [found.seq for found in page] == list(range(1, 12))[: before - 1][-3:]
    for after in range(12):
        page = await store.history(ROOM, after=Seq(after), limit=3)
        assert [found.seq for found in page] == list(range(1, 12))[after:][:3]
    between = await store.history(ROOM, after=Seq(2), before=Seq(9), limit=100)
    assert [found.seq for found in between] == [3, 4, 5, 6, 7, 8]


async def test_a_write_that_crosses_a_bucket_is_told_when_all_of_it_is_there(store: CassandraStore) -> None:
    for start in range(1, 60, 3):
        await append(store, [message(seq) for seq in range(start, start + 3)])
        assert await seqs(store) == list(range(1, start + 3))


async def test_writers_and_readers_meet_at_the_border_of_a_bucket(store: CassandraStore) -> None:
    async def write() -> None:
        for seq in range(1, 101):
            await append(store, [message(seq)])
        nursery.cancel_scope.cancel()

    async def read() -> None:
        while True:
            page = [found.seq for found in await store.history(ROOM, limit=5)]
            assert page == list(range(page[0], page[0] + len(page))) if page else True
            head = await store.head(ROOM)
            assert not page or (head is not None and head.seq >= page[-1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        for _ in range(3):
            nursery.start_soon(read)
    assert await seqs(store) == list(range(1, 101))


async def test_a_clock_that_is_set_back_changes_no_order(store: CassandraStore) -> None:
    times = [10 * DAY_MS, 400 * DAY_MS, 5, 300 * DAY_MS, 1, 7]
    written = [message(seq, at=at) for seq, at in enumerate(times, start=1)]
    for each in written:
        await append(store, [each])
    assert await store.history(ROOM, limit=10) == written
    head = await store.head(ROOM)
    assert head is not None
    assert head.seq == len(times)


async def test_empty_buckets_between_two_epochs_are_not_looked_into(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, [message(1), message(2**50, epoch="second", at=20)])
    questions = Questions(monkeypatch)
    assert await seqs(store) == [1, 2**50]
    assert questions.of("messages") == 2
    questions.asked.clear()
    page = await store.history(ROOM, after=Seq(1), limit=10)
    assert [found.seq for found in page] == [2**50]
    assert len(questions.asked) <= 4


async def test_a_last_page_takes_one_look_into_the_index_and_one_or_two_into_messages(
    empty_keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_cassandra(cassandra_settings(empty_keyspace)) as store:
        await append(store, [message(seq, channel=GROUP) for seq in range(4000, 4150)])
        await store.history(GROUP, limit=1)
        questions = Questions(monkeypatch)
        page = await store.history(GROUP, limit=50)
        assert [found.seq for found in page] == list(range(4100, 4150))
        assert (questions.of("message_buckets"), questions.of("messages")) == (1, 1)
        questions.asked.clear()
        assert len(await store.history(GROUP, limit=100)) == 100
        assert (questions.of("message_buckets"), questions.of("messages")) == (1, 2)


async def test_the_width_of_a_namespace_is_decided_once(store: CassandraStore, empty_keyspace: Keyspace) -> None:
    await append(store, [message(seq) for seq in range(1, 8)])
    async with open_cassandra(cassandra_settings(empty_keyspace)) as other:  # whose rules would make it 4096
        await append(other, [message(seq) for seq in range(8, 12)])
        assert await seqs(other) == list(range(1, 12))
    assert await seqs(store) == list(range(1, 12))


# Times to live.


async def test_messages_of_a_namespace_with_retention_expire_and_others_do_not(
    empty_keyspace: Keyspace, cassandra_server: CassandraServer
) -> None:
    limited = rules(user=NamespaceRule(retention_seconds=HOUR_SECONDS))
    async with open_cassandra(cassandra_settings(empty_keyspace, rules=limited)) as store:
        await append(store, [message(1, channel="user:alice"), message(1, channel="dm:alice:bob")])
    session, name = cassandra_server.session, empty_keyspace.name
    [(seconds,)] = session.execute(f"SELECT TTL(body) FROM {name}.messages_expiring")
    assert seconds == 1  # it is from 1970
    [(seconds,)] = session.execute(f"SELECT TTL(body) FROM {name}.messages")
    assert seconds is None
    for (seconds,) in session.execute(f"SELECT TTL(seq) FROM {name}.message_keys"):
        assert seconds > DAY_MS / 1000


async def test_a_channel_is_read_whole_after_its_namespace_got_a_retention(empty_keyspace: Keyspace) -> None:
    now = 4_000_000_000_000  # far ahead: nothing expires during the test
    async with open_cassandra(cassandra_settings(empty_keyspace)) as store:
        await append(store, [message(seq, at=now) for seq in (1, 2, 5)])
    limited = rules(room=NamespaceRule(retention_seconds=HOUR_SECONDS))
    async with open_cassandra(cassandra_settings(empty_keyspace, rules=limited)) as store:
        await append(store, [message(seq, at=now) for seq in (3, 4, 6)])
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        assert [each.seq for each in await store.history(ROOM, after=Seq(1), limit=3)] == [2, 3, 4]
        assert [each.seq for each in await store.history(ROOM, limit=2)] == [5, 6]
        for seq in (5, 6):
            await store.revise(revised(message(seq, at=now), b"\x80", now + seq))
        assert [each.revised_at for each in await store.history(ROOM, limit=2)] == [now + 5, now + 6]


# Reads of many at once.


async def test_a_page_that_many_want_at_once_is_read_twice_at_most(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, [message(1), message(2)])
    await store.history(ROOM, limit=1)
    questions = Questions(monkeypatch)
    questions.gate = trio.Event()
    pages: list[list[int]] = []

    async def ask() -> None:
        pages.append([found.seq for found in await store.history(ROOM, limit=10)])

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        questions.gate.set()
    assert pages == [[1, 2]] * 100
    assert questions.of("messages") <= 2


async def test_who_asks_after_a_write_sees_it_though_others_asked_before(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, [message(1)])
    await store.history(ROOM, limit=1)
    questions = Questions(monkeypatch)
    questions.gate = trio.Event()
    late: list[int] = []

    async def ask() -> None:
        late.extend(found.seq for found in await store.history(ROOM, limit=10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(store.history, ROOM, limit=10))
        await trio.testing.wait_all_tasks_blocked()
        await append(store, [message(2)])
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        questions.gate.set()
    assert late == [1, 2]


async def test_a_shared_read_is_answered_though_the_first_who_asked_gave_up(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, [message(1)])
    questions = Questions(monkeypatch)
    questions.gate = trio.Event()
    found: list[int] = []

    async def ask() -> None:
        found.extend(each.seq for each in await store.history(ROOM, limit=10))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0):
            await store.history(ROOM, limit=10)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        questions.gate.set()
    assert found == [1]


# The way of a batch.


async def until_connected(lines: Lines) -> None:
    """Return when there is a line."""
    with trio.fail_after(10):
        while True:
            if lines.best(b"") is not None:
                return
            await trio.sleep(0.01)


async def test_a_batch_reaches_a_node_over_a_line_without_the_driver(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.session
    lines = Lines(session.cluster, session.settings)
    dispatch = Dispatch(session, lines)
    prepared = await session.prepare(INSERT_KEY)
    batch = Batch(b"")
    for seq in range(3):
        values = key_values(PartitionKey(ROOM, 0), message(seq), KEPT, HOUR_SECONDS)
        batch.add(Prepared(prepared.query_id, len(prepared.column_metadata)), values)
    stored = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dispatch.run)
        await until_connected(lines)
        monkeypatch.setattr(Session, "send", None)
        dispatch.send(batch, lambda _, error: stored.set() if error is None else None)
        with trio.fail_after(10):
            await stored.wait()
        nursery.cancel_scope.cancel()
    monkeypatch.undo()
    rows = await session.read("SELECT seq, expiring FROM message_keys WHERE channel = ? AND bucket = ?", (ROOM, 0))
    assert sorted(rows) == [(seq, False) for seq in range(3)]


# What a crash leaves.


async def test_a_key_whose_message_was_never_written_finds_nothing(
    store: CassandraStore, cassandra_server: CassandraServer, empty_keyspace: Keyspace
) -> None:
    await append(store, [message(1, key="one")])
    insert = f"INSERT INTO {empty_keyspace.name}.message_keys (channel, bucket, sender_key, seq, expiring)"
    cassandra_server.session.execute(f"{insert} VALUES ('{ROOM}', 0, 'alice gone', 1, false)")
    cassandra_server.session.execute(f"{insert} VALUES ('{ROOM}', 3, 'alice never', 7, false)")
    assert await store.find(ALICE, "gone", 0) is None  # another message has its place
    assert await store.find(ALICE, "never", 0) is None
    assert await store.find(ALICE, "one", 0) == message(1, key="one")


async def test_members_that_were_not_listed_before_a_crash_are_listed_by_who_reads_them(
    store: CassandraStore, cassandra_server: CassandraServer, empty_keyspace: Keyspace
) -> None:
    await store.create_channel(GROUP, {ALICE: Role.OWNER, BOB: Role.MEMBER}, 1000)
    name = empty_keyspace.name
    cassandra_server.session.execute(f"TRUNCATE {name}.channels_by_user")
    cassandra_server.session.execute(
        f"UPDATE {name}.members SET unlisted = '[\"bob\"]' WHERE channel = '{GROUP}' IF EXISTS"
    )
    assert await store.memberships(BOB, since=0, limit=10) == []
    assert await store.members(GROUP) == {ALICE: Role.OWNER, BOB: Role.MEMBER}
    with trio.fail_after(10):
        while not (found := await store.memberships(BOB, since=0, limit=10)):
            await trio.lowlevel.checkpoint()
    assert found == [Membership(channel=GROUP, role=Role.MEMBER, joined_at=1000, last=None)]


async def test_what_a_revision_leaves_of_a_removed_message_is_no_message(store: CassandraStore) -> None:
    await append(store, [message(seq) for seq in (1, 2, 3)])
    await store.session.write(
        "UPDATE messages SET kind = 'edit' WHERE channel = ? AND bucket = 9 AND seq = 19", (ROOM,)
    )
    await store.session.write("UPDATE message_buckets SET kept = true WHERE channel = ? AND bucket = 9", (ROOM,))
    assert await seqs(store) == [1, 2, 3]
    head = await store.head(ROOM)
    assert head is not None
    assert head.seq == 3


# Many members, many channels.


async def test_five_hundred_conversations_are_listed_with_few_questions(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [ChannelName(f"dm:alice:{number:03}") for number in range(500)]
    for channel in channels:
        await store.session.write(_LIST, (ALICE, channel, "member", 1, 1))
    await append(store, [message(1, channel=channel, at=at) for at, channel in enumerate(channels, start=100)])
    questions = Questions(monkeypatch)
    found = await store.memberships(ALICE, since=0, limit=3)
    assert [each.channel for each in found] == channels[:-4:-1]
    assert len(questions.asked) < 30


_LIST = "INSERT INTO channels_by_user (user, channel, role, joined_at) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"


# Schema.


async def test_nodes_that_start_at_the_same_time_migrate_one_after_the_other(
    cassandra: Keyspace, cassandra_server: CassandraServer
) -> None:
    async def start(number: int) -> None:
        async with open_cassandra(cassandra_settings(cassandra)) as store:
            await append(store, [message(1, channel=f"dm:{number}")])
            heads.append(await store.head(ChannelName(f"dm:{number}")))

    heads: list[object] = []
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(start, number)
    assert len(heads) == 3
    assert None not in heads
    [(count,)] = cassandra_server.session.execute(f"SELECT count(*) FROM {cassandra.name}.schema_migrations")
    assert count == 1


async def test_a_keyspace_without_the_schema_is_refused_where_it_must_not_be_made(cassandra: Keyspace) -> None:
    with pytest.raises(StoreError, match="older schema"):
        async with open_cassandra(cassandra_settings(cassandra), migrates=False):
            pass


async def test_a_keyspace_with_more_copies_than_nodes_is_not_made(cassandra_server: CassandraServer) -> None:
    missing = Keyspace(cassandra_server.host, cassandra_server.port, "not_there")
    settings = cassandra_settings(missing)
    with pytest.raises(StoreError, match="replication_factor 3: the data centre datacenter1 has 1 nodes"):
        async with open_cassandra(dataclasses.replace(settings, replication_factor=3)):
            pass


async def test_a_data_centre_that_is_none_is_said_and_not_waited_for(cassandra: Keyspace) -> None:
    settings = dataclasses.replace(cassandra_settings(cassandra), datacenter="nowhere")
    with pytest.raises(StoreError, match="no data centre 'nowhere', but datacenter1") as caught:
        async with open_cassandra(settings):
            pass
    assert not isinstance(caught.value, StoreUnavailable)
    with pytest.raises(StoreError, match="no data centre 'nowhere'"):
        await trio.to_thread.run_sync(inspect_cluster, settings)
