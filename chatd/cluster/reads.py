"""Tells who has read to sessions on other nodes too: through the post, to the nodes that hold sessions of these users.

What is lost on the way is not missed for ever: `channels` says how far a user has read.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from chatd.cluster import NodeId
from chatd.cluster.post import PostFull
from chatd.redis import RedisError
from protocol.messages import Event, HasRead
from protocol.names import UserId

_KIND = "read"

_log = structlog.get_logger("cluster")


class Post(Protocol):
    """What is needed of `chatd.cluster.post.Post`."""

    def send(self, node: NodeId, kind: str, payload: bytes) -> None:
        """Send a message to a node."""

    def handle(self, kind: str, callback: Callable[[NodeId, bytes], None]) -> None:
        """Let `callback` take messages of a kind."""


class _Told(msgspec.Struct, frozen=True, array_like=True):
    users: list[UserId]
    event: HasRead


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode

NodesOf = Callable[[Collection[UserId]], Awaitable[Mapping[str, Sequence[UserId]]]]
DeliverTo = Callable[[Iterable[UserId], Event, str], None]


class ReadTelling:
    """Takes what `ReadMarks` has to tell. At most `waiting` of it wait for Redis; of more only this node hears."""

    def __init__(self, deliver_to: DeliverTo, nodes_of: NodesOf, own: NodeId, post: Post, waiting: int) -> None:
        self._deliver_to = deliver_to
        self._nodes_of = nodes_of
        self._own = own
        self._post = post
        self._waiting: deque[_Told] = deque(maxlen=waiting)
        self._wake = trio.Event()
        post.handle(_KIND, self._take)

    def tell(self, users: Iterable[UserId], event: Event, origin: str) -> None:
        """Tell sessions on this node now, and those of other nodes soon; never waits."""
        to = list(users)
        self._deliver_to(to, event, origin)
        if isinstance(event, HasRead):
            self._waiting.append(_Told(to, event))
            self._wake.set()

    async def run(self) -> None:
        """Send to other nodes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                await self._send(self._waiting.popleft())

    async def _send(self, told: _Told) -> None:
        try:
            for node, users in (await self._nodes_of(told.users)).items():
                if node != self._own:
                    self._post.send(NodeId(node), _KIND, _encode(_Told(list(users), told.event)))
        except (RedisError, PostFull):
            return  # others read it from the list of channels

    def _take(self, _: NodeId, payload: bytes) -> None:
        try:
            told = _decode(payload)
        except msgspec.MsgspecError as error:
            _log.warning("a node says something that cannot be read", error=str(error))
            return
        self._deliver_to(told.users, told.event, "")
