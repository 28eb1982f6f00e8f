"""Redis stands still, is killed, comes back with its data or without: what recent and member channels promise then."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import trio

from chatd.broker import Draft
from protocol.names import ChannelName, UserId
from storage.records import Role
from storage.sqlite import open_sqlite
from tests.conftest import StartRedis
from tests.rig.broker import RECENT, Desk
from tests.rig.cluster import until
from tests.rig.redis import RedisServer
from tests.rig.redis_broker import RedisNode, Street, redis_config, redis_node
from tests.rig.witness import Witness

pytestmark = pytest.mark.system

GROUP = ChannelName("group:crew")
MEMBERS = {UserId("alice"): "one", UserId("bob"): "two"}
WRITERS = 6
TROUBLES = ["paused for a moment", "paused until it is given up", "killed, with its data", "killed, without its data"]


class Trouble:
    """What becomes of a Redis server."""

    def __init__(self, name: str, start_redis: StartRedis) -> None:
        self.name = name
        self.server: RedisServer = start_redis(appendonly=name == "killed, with its data")
        self.forgets = name == "killed, without its data"

    async def run(self) -> None:
        """Let it happen, and be over."""
        begin, end = (
            (self.server.pause, self.server.resume)
            if self.name.startswith("paused")
            else (self.server.kill, self.server.start)
        )
        await trio.to_thread.run_sync(begin)
        await trio.sleep(2.5 if self.name == "paused until it is given up" else 0.5)
        await trio.to_thread.run_sync(end)


def to_members(wanted: Draft) -> Draft:
    """Address a draft to the group."""
    return msgspec.structs.replace(wanted, audience=list(MEMBERS)) if wanted.channel == GROUP else wanted


async def write_through(trouble: Trouble, witness: Witness, nodes: list[RedisNode], street: Street) -> None:
    """Let many write through both nodes while it happens, and long enough after it."""
    desks = [node.desk for node in nodes]
    enough = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(witness.write, desks[number % 2 :] + desks[: number % 2], f"writer{number}", enough)
        await until(lambda: len(witness.acked) > 100)
        street.drops = True  # post goes through Redis too
        await trouble.run()
        street.drops = False
        for node in nodes:
            node.broker.arrivals.lost()
        before = len(witness.acked)
        with trio.fail_after(20):
            while len(witness.acked) < before + 200:  # noqa: ASYNC110
                await trio.sleep(0.02)
        enough.set()


def all_once_and_in_order(desk: Desk, witness: Witness) -> bool:
    """Tell whether a reader has every acknowledged message, or has seen by a new epoch that some were lost."""
    places = [message.place for message in desk.delivered if message.channel == witness.channel]
    ranks = [(int(place.epoch), place.seq) for place in places]
    assert ranks == sorted(set(ranks)), "a reader got a message twice, or out of order"
    for earlier, later in pairwise(places):
        assert later.epoch != earlier.epoch or later.seq == earlier.seq + 1, "a reader missed one and could not know"
    return set(witness.acked.values()) <= set(places)


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("channel", [RECENT, GROUP])
async def test_what_was_acknowledged_is_kept_and_readers_know_what_they_have(
    start_redis: StartRedis, tmp_path: Path, name: str, channel: ChannelName
) -> None:
    trouble = Trouble(name, start_redis)
    street = Street(MEMBERS)
    witness = Witness(channel, prepare=to_members)
    config = redis_config(
        trouble.server.address,
        reply_seconds=1.0,
        leftover_seconds=0.5,
        settle_seconds=0.3,
        hole_seconds=0.05,
        recent_messages=10_000,
        save_rows_per_second=1_000_000,
    )
    readers = [RECENT] if channel == RECENT else []
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        await store.create_channel(GROUP, dict.fromkeys(MEMBERS, Role.MEMBER), 1)
        async with (
            redis_node(store, config, channels=readers, street=street, name="one") as one,
            redis_node(store, config, channels=readers, street=street, name="two") as two,
        ):
            await write_through(trouble, witness, [one, two], street)
            await witness.caught_up(one.broker, one.desk, two.desk)
            await witness.check(one.broker)
            for node in (one, two):
                has_all = all_once_and_in_order(node.desk, witness)
                assert has_all or (channel == RECENT and trouble.forgets)
                assert node.lost == []
            if channel == GROUP:
                await witness.check(store, one.desk, two.desk)
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        await witness.check(store)
