"""Two brokers over one Redis and one store: nothing acknowledged is lost, and every reader sees the same."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trio

from chatd.broker import Published
from protocol.codes import ErrorCode
from protocol.names import Seq
from storage import Done, Store, StoreUnavailable
from storage.records import StoredMessage
from storage.sqlite import SqliteStore, open_sqlite
from tests.conftest import StartRedis
from tests.rig.broker import ALICE, DURABLE, RECENT, draft
from tests.rig.cluster import until
from tests.rig.redis import RedisServer
from tests.rig.redis_broker import RedisNode, redis_config, redis_node
from tests.rig.witness import Witness

pytestmark = pytest.mark.system

WRITERS = 6

Pair = tuple[RedisNode, RedisNode, SqliteStore]


@asynccontextmanager
async def two_nodes(
    path: Path, *addresses: str, reply_seconds: float = 5.0, **keys: object
) -> AsyncIterator[tuple[RedisNode, RedisNode, SqliteStore]]:
    """Run two brokers that share a store, each with a reader."""
    config = redis_config(
        *addresses, reply_seconds=reply_seconds, **{"leftover_seconds": 0.5, "settle_seconds": 0.3, **keys}
    )
    async with (
        open_sqlite(path / "chatd.sqlite3") as store,
        redis_node(store, config, channels=[DURABLE]) as one,
        redis_node(store, config, channels=[DURABLE]) as two,
    ):
        yield one, two, store


async def write_through(
    path: Path, server: RedisServer, trouble: Callable[[], object], after: Callable[[], object], seconds: float
) -> Witness:
    """Let many write through both nodes while Redis is in trouble; check all promises afterwards."""
    witness = Witness(DURABLE)
    async with two_nodes(path, server.address, reply_seconds=1.0) as (one, two, store):
        desks = [one.desk, two.desk]
        enough = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(witness.write, desks[number % 2 :] + desks[: number % 2], f"writer{number}", enough)
            await trio.sleep(0.3)
            before = len(witness.acked)
            await trio.to_thread.run_sync(trouble)
            await trio.sleep(seconds)
            await trio.to_thread.run_sync(after)
            await trio.sleep(0.5)
            with trio.fail_after(20):
                while len(witness.acked) < 2 * before:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            enough.set()
        await witness.caught_up(store, *desks)
        assert before > 0
        await witness.check(store, *desks)
    return witness


@pytest.mark.parametrize("seconds", [0.5, 1.6])
async def test_a_redis_that_stands_still_costs_nothing(start_redis: StartRedis, tmp_path: Path, seconds: float) -> None:
    server = start_redis()
    await write_through(tmp_path, server, server.pause, server.resume, seconds)


async def test_a_redis_that_is_killed_and_has_its_data_costs_nothing(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis(appendonly=True)
    await write_through(tmp_path, server, server.kill, server.start, 0.3)


async def test_a_redis_that_is_killed_and_has_lost_all_costs_nothing(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    await write_through(tmp_path, server, server.kill, server.start, 0.3)


async def test_a_redis_that_comes_back_with_older_data_gives_no_place_twice(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()

    def go_back() -> None:
        server.kill()
        server.start()

    async with two_nodes(tmp_path, server.address) as (one, two, store):
        witness = Witness(DURABLE)
        enough = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(witness.write, [one.desk, two.desk], "before", enough)
            await trio.sleep(0.1)
            with server.client() as client:
                client.save()
            await trio.sleep(0.2)
            await trio.to_thread.run_sync(go_back)
            await trio.sleep(1.0)
            enough.set()
        await witness.caught_up(store, one.desk, two.desk)
        await witness.check(store, one.desk, two.desk)


async def test_a_place_that_redis_forgot_and_the_store_has_not_yet_is_not_given_to_another(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    config = redis_config(server.address, leftover_seconds=60, settle_seconds=0.3)
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        slow = SlowStore(store)
        async with (
            redis_node(slow.as_store(), config, channels=[DURABLE], name="one") as one,
            redis_node(store, config, channels=[DURABLE], name="two") as two,
            trio.open_nursery() as nursery,
        ):
            await one.desk.placed(draft("before"))
            with server.client() as client:
                client.save()
            slow.is_slow = True
            nursery.start_soon(one.desk.placed, draft("slow"))
            await until(lambda: slow.waits == 1)
            await trio.to_thread.run_sync(server.kill)
            await trio.to_thread.run_sync(server.start)
            nursery.start_soon(two.desk.placed, draft("quick"))
            await trio.sleep(1.5)  # several times `settle_seconds`
            assert [message.key for message in await store.history(DURABLE, limit=9)] == ["before"]
            slow.go_on()
        stored = await store.history(DURABLE, limit=9)
        assert [message.key for message in stored] == ["before", "slow", "quick"]
        assert stored[1].place.seq == 2


class SlowStore:
    """A store whose writes wait while it is slow."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._waiting: list[tuple[Sequence[StoredMessage], Done]] = []
        self.is_slow = False

    def as_store(self) -> Store:
        """Give it to who wants a whole store."""
        return cast(Store, self)

    @property
    def waits(self) -> int:
        """How many writes wait."""
        return len(self._waiting)

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Take messages, now or when it goes on."""
        if self.is_slow:
            self._waiting.append((messages, done))
        else:
            self._store.submit(messages, done)

    def go_on(self) -> None:
        """Write what waits."""
        self.is_slow = False
        for messages, done in self._waiting:
            self._store.submit(messages, done)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_reader_whose_connection_is_replaced_misses_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    witness = Witness(DURABLE)
    async with two_nodes(tmp_path, redis_server.address) as (one, two, store):
        enough = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(witness.write, [one.desk, two.desk], f"writer{number}", enough)
            with redis_server.client() as client:
                for _ in range(10):
                    await trio.sleep(0.05)
                    client.client_kill_filter(_type="pubsub")
            enough.set()
        await witness.caught_up(store, one.desk, two.desk)
        await witness.check(store, one.desk, two.desk)
        fills = [node.broker.many_nodes_statistics() for node in (one, two)]
        assert sum(statistics.fills for statistics in fills) > 0
        assert [statistics.losses for statistics in fills] == [0, 0]


@pytest.mark.parametrize("point", ["before the store", "after the store"])
async def test_what_a_dead_node_left_is_finished_by_another(
    redis_server: RedisServer, tmp_path: Path, point: str
) -> None:
    config = redis_config(redis_server.address, leftover_seconds=0.3)
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store, redis_node(store, config, channels=[DURABLE]) as two:
        crashing = CrashingStore(store, after_store=point == "after the store")
        with trio.CancelScope() as life:
            crashing.life = life
            async with redis_node(crashing.as_store(), config, channels=[]) as one:
                await one.broker.publish([draft(f"k{number}") for number in range(10)])
        assert life.cancelled_caught
        with trio.fail_after(5):
            while two.broker.many_nodes_statistics().leftovers < 10:  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert two.desk.seqs() == list(range(1, 11))
        again = await two.desk.publish(*(draft(f"k{number}", retry=True) for number in range(10)))
        assert [answer.place.seq for answer in again if isinstance(answer, Published)] == list(range(1, 11))
        stored = await store.history(DURABLE, limit=100)
        assert [(message.seq, message.key) for message in stored] == [(n + 1, f"k{n}") for n in range(10)]
        assert two.desk.seqs() == list(range(1, 11))
        with redis_server.client() as client:
            assert [client.xlen(key) for key in client.scan_iter("*wal")] in ([], [0])


class CrashingStore:
    """A store whose node dies when it writes: right before, or right after and before anybody knows."""

    def __init__(self, store: SqliteStore, *, after_store: bool) -> None:
        self._store = store
        self._after_store = after_store
        self.life: trio.CancelScope | None = None

    def as_store(self) -> Store:
        """Give it to who wants a whole store."""
        return cast(Store, self)

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """End the node."""
        assert self.life is not None
        self.life.cancel()
        if self._after_store:
            self._store.submit(messages, lambda _: None)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_no_more_waits_in_redis_for_a_store_that_is_away_than_may(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    config = redis_config(redis_server.address, leftover_seconds=0.3, unstored_messages=3)

    def unstored() -> int:
        with redis_server.client() as client:
            return sum(client.xlen(key) for key in client.scan_iter("*wal"))

    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        away = AwayStore(store)
        async with redis_node(away.as_store(), config, channels=[DURABLE, RECENT]) as node:
            await node.desk.placed(draft("before"))
            await until(lambda: unstored() == 0)
            away.is_away = True
            for number in range(3):
                for _ in range(3):  # a resend waits already, and is not counted again
                    assert await node.desk.refused(draft(f"k{number}")) is ErrorCode.UNAVAILABLE
            assert unstored() == 3
            for number in range(20):
                assert await node.desk.refused(draft(f"late{number}")) is ErrorCode.UNAVAILABLE
            assert unstored() < 3 + 20 / 2, "only one a second is to be placed"
            await node.desk.placed(draft("passing", RECENT))
            away.is_away = False
            await until(lambda: unstored() == 0)
            await node.desk.placed(draft("after"), draft("and another"))
            stored = [message.key for message in await store.history(DURABLE, limit=99)]
            assert stored[:4] == ["before", "k0", "k1", "k2"]
            assert stored[-2:] == ["after", "and another"]


class AwayStore:
    """A store that takes nothing while it is away."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.is_away = False

    def as_store(self) -> Store:
        """Give it to who wants a whole store."""
        return cast(Store, self)

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Take messages, or raise."""
        if self.is_away:
            raise StoreUnavailable("it is away")
        self._store.submit(messages, done)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_server_that_takes_nothing_is_asked_ever_more_seldom(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    async with two_nodes(tmp_path, server.address, publish_seconds=1.0) as (one, _, _):
        await one.desk.placed(draft("first"))
        with server.client() as client:
            client.config_set("maxmemory", "1mb")  # it is full
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            assert await one.desk.refused(draft("k")) is ErrorCode.UNAVAILABLE
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 20
            client.config_set("maxmemory", "0")
        await one.desk.placed(draft("k"))


@pytest.mark.parametrize("retry", [False, True])
async def test_a_send_that_redis_does_not_answer_may_be_placed(
    start_redis: StartRedis, tmp_path: Path, retry: bool
) -> None:
    server = start_redis()
    async with two_nodes(tmp_path, server.address, publish_seconds=0.3) as (one, two, _):
        await one.desk.placed(draft("first"))
        server.pause()
        assert await one.desk.refused(draft("k", retry=retry)) is ErrorCode.TIMEOUT
        server.resume()
        await two.desk.heard(2)
        again = await two.desk.one(draft("k"))
        assert (again.place.seq, again.duplicate) == (2, True)


async def test_a_recent_message_whose_answer_was_lost_is_saved_and_told(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    told: list[str] = []
    config = redis_config(server.address, reply_seconds=0.4)
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        async with redis_node(store, config, channels=[RECENT]) as node:
            node.broker.appender.on_placed = lambda messages: told.extend(message.key for message, _ in messages)
            await node.desk.placed(draft("first", RECENT))
            async with trio.open_nursery() as nursery:
                server.pause()
                nursery.start_soon(node.desk.one, draft("k", RECENT))
                with trio.fail_after(5):
                    while all(line.is_up for line in node.servers.lines()):  # noqa: ASYNC110
                        await trio.sleep(0.01)
                server.resume()
            await node.desk.placed(draft("last", RECENT))
        saved = [(message.seq, message.key) for message in await store.history(RECENT, limit=9)]
    assert saved == [(1, "first"), (2, "k"), (3, "last")]
    assert told == ["first", "k", "last"]


async def test_a_resend_of_what_is_stored_and_taken_off_finds_its_place(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with two_nodes(tmp_path, redis_server.address) as (one, two, _):
        first = await one.desk.one(draft("k"))
        with redis_server.client() as client, trio.fail_after(5):
            while any(client.xlen(key) for key in client.scan_iter("*wal")):  # noqa: ASYNC110
                await trio.sleep(0.01)
        again = await two.desk.one(draft("k"))
        assert (again.place, again.duplicate) == (first.place, True)


async def test_a_forgotten_message_says_nothing_any_more_on_any_node(redis_server: RedisServer, tmp_path: Path) -> None:
    async with two_nodes(tmp_path, redis_server.address) as (one, two, store):
        await one.desk.placed(draft("secret"), draft("other"))
        await two.desk.heard(2)
        assert await one.broker.forget(DURABLE, ALICE, "secret")
        for node in (one, two):
            kinds = [message.kind for message in await node.broker.history(DURABLE, before=None, after=None, limit=9)]
            assert kinds == ["expired", ""]
            since = (node.desk.delivered[0].epoch, Seq(0))
            with trio.fail_after(5):
                while (await node.broker.recover(DURABLE, since, lambda: None)).messages[0].kind != "expired":  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert [message.kind for message in await store.history(DURABLE, limit=9)] == ["expired", ""]
        assert await one.broker.forget(DURABLE, ALICE, "never sent")
