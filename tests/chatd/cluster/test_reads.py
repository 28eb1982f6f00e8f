"""Who has read is told on all nodes that hold sessions of who wants to know."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import trio

from chatd.cluster import NodeId
from chatd.cluster.post import PostFull
from chatd.cluster.reads import ReadTelling
from chatd.redis import RedisUnavailable
from protocol.messages import Event, HasRead
from protocol.names import ChannelName, Seq, UserId

ALICE, BOB = UserId("alice"), UserId("bob")
EVENT = HasRead(channel=ChannelName("dm:alice:bob"), user=BOB, seq=Seq(3), at=5)


class Site:
    """A node with a post that may fail, and what its sessions were told."""

    def __init__(self, name: str, sites: dict[str, "Site"]) -> None:
        self.told: list[tuple[list[UserId], Event, str]] = []
        self.callback: Callable[[NodeId, bytes], None] = lambda _node, _payload: None
        self.sites = sites
        self.where: dict[str, Sequence[UserId]] = {}
        self.failure: Exception | None = None
        sites[name] = self
        self.telling = ReadTelling(self.deliver_to, self.nodes_of, NodeId(name), self, 2)

    def deliver_to(self, users: Iterable[UserId], event: Event, origin: str) -> None:
        self.told.append((list(users), event, origin))

    async def nodes_of(self, users: Collection[UserId]) -> Mapping[str, Sequence[UserId]]:
        await trio.lowlevel.checkpoint()
        if isinstance(self.failure, RedisUnavailable):
            raise self.failure
        return self.where

    def send(self, node: NodeId, kind: str, payload: bytes) -> None:
        if isinstance(self.failure, PostFull):
            raise self.failure
        self.sites[node].callback(NodeId("x"), payload)

    def handle(self, kind: str, callback: Callable[[NodeId, bytes], None]) -> None:
        self.callback = callback


def sites() -> tuple[Site, Site]:
    known: dict[str, Site] = {}
    return Site("one", known), Site("two", known)


async def test_sessions_here_hear_it_at_once_and_those_elsewhere_through_the_post(nursery: trio.Nursery) -> None:
    one, two = sites()
    one.where = {"one": [BOB], "two": [ALICE, BOB]}
    nursery.start_soon(one.telling.run)
    one.telling.tell([ALICE, BOB], EVENT, "session")
    assert one.told == [([ALICE, BOB], EVENT, "session")]
    await trio.testing.wait_all_tasks_blocked()
    assert two.told == [([ALICE, BOB], EVENT, "")]
    assert len(one.told) == 1


async def test_while_redis_is_away_this_node_hears_it_all_the_same(nursery: trio.Nursery) -> None:
    one, two = sites()
    one.where = {"two": [BOB]}
    nursery.start_soon(one.telling.run)
    for failure in (RedisUnavailable("away"), PostFull()):
        one.failure = failure
        one.telling.tell([BOB], EVENT, "")
        await trio.testing.wait_all_tasks_blocked()
    assert (len(one.told), two.told) == (2, [])
    one.failure = None
    one.telling.tell([BOB], EVENT, "")
    await trio.testing.wait_all_tasks_blocked()
    assert len(two.told) == 1


async def test_no_more_waits_than_may(nursery: trio.Nursery) -> None:
    one, two = sites()
    one.where = {"two": [BOB]}
    for _ in range(5):
        one.telling.tell([BOB], EVENT, "")
    nursery.start_soon(one.telling.run)
    await trio.testing.wait_all_tasks_blocked()
    assert (len(one.told), len(two.told)) == (5, 2)


async def test_what_cannot_be_read_is_left_alone() -> None:
    one, _ = sites()
    one.callback(NodeId("two"), b"nonsense")
    assert one.told == []
