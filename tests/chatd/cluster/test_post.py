"""Messages between nodes: order, everybody, bounds, and what is lost is noticed."""

import msgspec
import pytest

from chatd.cluster import NodeId
from chatd.cluster.post import EVERYBODY, PostFull
from tests.conftest import StartRedis
from tests.rig.cluster import CLUSTER, Member, running_member, until
from tests.rig.redis import RedisServer

pytestmark = pytest.mark.system


def collect(member: Member, kind: str = "note") -> list[tuple[NodeId, bytes]]:
    """Return a list in which messages to this node gather."""
    taken: list[tuple[NodeId, bytes]] = []
    member.post.handle(kind, lambda sender, payload: taken.append((sender, payload)))
    return taken


def fail(sender: NodeId, payload: bytes) -> None:
    """Take a message as a broken part does."""
    raise RuntimeError("broken")


async def test_messages_come_in_the_order_of_their_sender(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        taken = collect(two)
        for number in range(500):
            one.post.send(two.node, "note", b"%d" % number)
            if number % 7 == 0:
                await until(lambda: not one.post._waiting)
        await until(lambda: len(taken) == 500)
        assert taken == [(one.node, b"%d" % number) for number in range(500)]
        assert one.post.sent < 500
        assert two.post.lost == 0


async def test_a_node_can_write_to_itself_and_to_everybody(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        here, there = collect(one), collect(two)
        one.post.send(one.node, "note", b"to me")
        one.post.send(EVERYBODY, "note", b"to all")
        await until(lambda: len(here) == 2 and len(there) == 1)
        assert here == [(one.node, b"to me"), (one.node, b"to all")]
        assert there == [(one.node, b"to all")]


async def test_a_callback_that_fails_and_an_unknown_kind_disturb_nobody(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        taken = collect(two)
        two.post.handle("broken", fail)
        for kind in ("broken", "unheard of", "note"):
            one.post.send(two.node, kind, b"")
        await until(lambda: taken)


async def test_what_waits_is_bounded(redis_server: RedisServer) -> None:
    small = msgspec.structs.replace(CLUSTER, post_bytes=1000)
    async with running_member(redis_server, "one", small) as one:
        one.post.send(NodeId("two"), "note", bytes(900))
        with pytest.raises(PostFull):
            one.post.send(NodeId("two"), "note", bytes(100))
        await until(lambda: not one.post._waiting)
        one.post.send(NodeId("two"), "note", bytes(100))


async def test_a_lost_envelope_and_a_lost_connection_are_noticed(start_redis: StartRedis) -> None:
    server = start_redis()
    async with running_member(server, "one") as one, running_member(server, "two") as two:
        taken, lost = collect(two), list[NodeId | None]()
        two.post.on_lost.append(lost.append)
        one.post.send(two.node, "note", b"first")
        await until(lambda: taken)
        one.post._numbers[two.node] += 1  # as if an envelope had been sent and not come
        one.post.send(two.node, "note", b"third")
        await until(lambda: len(taken) == 2)
        assert lost == [one.node]
        with server.client() as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: None in lost)


async def test_a_new_incarnation_is_reached_under_its_new_name(redis_server: RedisServer) -> None:
    async with running_member(redis_server, "one") as one, running_member(redis_server, "two") as two:
        taken, lost = collect(two), list[NodeId | None]()
        two.post.on_lost.append(lost.append)
        before = two.node
        two.incarnation.renew()
        await two.post.wait_open()
        one.post.send(before, "note", b"to nobody")
        one.post.send(two.node, "note", b"to the new one")
        await until(lambda: taken)
        assert taken == [(one.node, b"to the new one")]
        assert lost == [None]
