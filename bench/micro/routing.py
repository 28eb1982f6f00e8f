"""The way of a message through router and broker to its answer, without sockets and without a disk."""

import itertools
import time
from typing import cast

import msgspec
import trio

from bench.micro.clock import Clock, Cost, measure
from chatd.accounts.principal import Principal
from chatd.broker.memory import MemoryBroker
from chatd.config import Config, Limits
from chatd.counters import Counters
from chatd.drafting import Drafting
from chatd.groups import Groups
from chatd.hub import Hub
from chatd.link import Link
from chatd.members import Members
from chatd.rights import Directory
from chatd.router import Router
from chatd.session import Session
from chatd.settings import Settings
from protocol.codec import JSON
from protocol.format import Formats
from protocol.frames import FrameLimits, FrameReader
from protocol.messages import Send
from protocol.names import DeviceId, Epoch, UserId
from storage import Store
from storage.records import StoredMessage

_TURN = 8
_OFTEN = 1e9
_BODY = msgspec.Raw(b'{"text":"%s"}' % (b"x" * 189))


class _EmptyStore:
    """A store that has nothing and keeps nothing."""

    async def history(self, channel: str, **page: object) -> list[StoredMessage]:
        """Return nothing."""
        return []


class _Link:
    """A connection that takes everything."""

    def __init__(self) -> None:
        self.send = len
        self.ring_head = None


def route(clock: Clock = measure) -> dict[str, Cost]:
    """Measure what one `send` costs from the decoded command to the written answer."""
    return trio.run(_route, clock)


async def _route(clock: Clock) -> dict[str, Cost]:
    router, session = _parts()
    numbers = itertools.count()

    def turn(count: int) -> None:
        commands = [Send(id=1, channel="room:bench", key=f"key-{next(numbers)}", data=_BODY) for _ in range(count)]
        try:
            router.send(session, commands, 0.0).send(None)
        except StopIteration:
            session.flush()
        else:
            raise AssertionError("a send into a room in memory must not wait")

    await router.send(session, [Send(id=1, channel="room:bench", key="first", data=_BODY)], 0.0)
    return {
        "router: one send, to its answer": clock(lambda: turn(1), 1),
        "router: one send of eight in a turn": clock(lambda: turn(_TURN), _TURN),
    }


def _parts() -> tuple[Router, Session]:
    """Build what stands between a session and its answer."""
    limits = Limits(commands_per_second=_OFTEN, commands_burst=10**9, messages_per_second=_OFTEN, messages_burst=10**9)
    settings, counters, store = Settings(Config(limits=limits)), Counters(), cast(Store, _EmptyStore())
    hub, directory = Hub(settings, counters, time.time), Directory(settings)
    groups = Groups(store, Members(store, 1), directory, time.time, lambda: "key", users_are_here=True)
    router = Router(hub, Drafting(directory, groups), counters)
    router.broker = MemoryBroker(
        store,
        settings,
        lambda channel: directory.find(channel).namespace,
        router.deliver,
        hub.channels.__contains__,
        time.time,
        lambda: Epoch("abcdefgh"),
        counters.commit,
    )
    formats = Formats(deflate_level=6, deflate_min_bytes=128)
    reader = FrameReader(FrameLimits(65536, 65536, 64))
    session = Session("bench", cast(Link, _Link()), formats.get(JSON, 0), reader, hub)
    hub.welcome(session, Principal(UserId("alice"), DeviceId("d-alice"), False, None))
    return router, session
