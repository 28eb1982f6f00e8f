"""Sessions and channels on other nodes: found and changed by a server command that came to this one.

Theory of operation. An order goes to every node, for it is rare, and who has a session may not have said so yet. Each
does it for its own sessions and answers how many there were; the asking node waits for all that live, but no longer
than `cluster.answer_seconds`. Revoking a device is not answered: whoever did not hear it reads it from the store when
it starts, and its access token ends by itself.
"""

from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
import structlog
import trio

from chatd.accounts.tokens import Tokens
from chatd.cluster import NodeId
from chatd.cluster.incarnation import Incarnation
from chatd.cluster.leases import Leases
from chatd.cluster.orders import (
    Answer,
    End,
    Find,
    FindChannels,
    Join,
    Kick,
    Order,
    Revoke,
    end,
    find,
    find_channels,
    kick,
)
from chatd.cluster.post import EVERYBODY, Post, PostFull
from chatd.config import Cluster
from chatd.hub import Hub
from protocol.names import ChannelName, DeviceId, UserId

_log = structlog.get_logger("cluster")


class _Ask(msgspec.Struct, frozen=True, array_like=True):
    number: int
    order: Order


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    number: int
    answer: Answer


class _Question:
    """An order that waits for its answers."""

    def __init__(self, nodes: set[NodeId]) -> None:
        self.missing = nodes
        self.answers: list[Answer] = []
        self.done = trio.Event()

    def take(self, node: NodeId, answer: Answer) -> None:
        """Take the answer of a node."""
        if node in self.missing:
            self.missing.discard(node)
            self.answers.append(answer)
        if not self.missing:
            self.done.set()


_ask = msgspec.msgpack.Decoder(_Ask).decode
_reply = msgspec.msgpack.Decoder(_Reply).decode
_encode = msgspec.msgpack.Encoder().encode


class Remote:
    """Gives orders to the other nodes, and does theirs."""

    def __init__(
        self, config: Cluster, hub: Hub, tokens: Tokens, incarnation: Incarnation, leases: Leases, post: Post
    ) -> None:
        self.join: Callable[[UserId, ChannelName], Awaitable[int]] | None = None
        """Subscribes the sessions of a user here; returns how many. Set by who knows how to read channels."""
        self._config = config
        self._hub = hub
        self._tokens = tokens
        self._incarnation = incarnation
        self._leases = leases
        self._post = post
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}
        self._nursery: trio.Nursery | None = None
        post.handle("order", self._take_order)
        post.handle("answer", self._take_answer)

    # Giving orders.

    async def everywhere_else(self, order: Order) -> list[Answer]:
        """Let every other node do it; return what those answered who did within `cluster.answer_seconds`."""
        others = set(self._leases.nodes) - {self._incarnation.node}
        if not others:
            return []
        number = next(self._numbers)
        question = self._questions[number] = _Question(others)
        try:
            self._post.send(EVERYBODY, "order", _encode(_Ask(number, order)))
            with trio.move_on_after(self._config.answer_seconds):
                await question.done.wait()
        except PostFull:
            _log.warning("other nodes were not told", order=type(order).__name__)
        finally:
            del self._questions[number]
        return question.answers

    def revoke(self, device: DeviceId) -> None:
        """Let every other node know that a device was revoked. Never waits."""
        try:
            self._post.send(EVERYBODY, "order", _encode(_Ask(0, Revoke(device=device))))
        except PostFull:
            _log.error("other nodes do not know that a device was revoked", device=device)

    # Doing them.

    async def run(self) -> None:
        """Do what takes a while, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await trio.sleep_forever()

    def _take_order(self, sender: NodeId, payload: bytes) -> None:
        if sender == self._incarnation.node:
            return  # who gives an order does its own part of it
        try:
            ask = _ask(payload)
        except msgspec.ValidationError as error:
            # Of a newer version, while nodes are replaced one by one: who asked goes on after `cluster.answer_seconds`.
            _log.warning("an order that this version does not know is not done", node=sender, error=str(error))
            return
        match ask.order:
            case End() as order:
                self._answer(sender, ask.number, Answer(count=end(self._hub, order)))
            case Kick() as order:
                self._answer(sender, ask.number, Answer(count=kick(self._hub, order)))
            case Find() as order:
                self._answer(sender, ask.number, Answer(sessions=find(self._hub, order)))
            case FindChannels() as order:
                self._answer(sender, ask.number, Answer(channels=find_channels(self._hub, order)))
            case Join() as order:
                if self._nursery is not None:
                    self._nursery.start_soon(self._do_join, sender, ask.number, order)
            case Revoke(device=device):
                self._tokens.revoke(device)
                self._hub.revoke(device)

    async def _do_join(self, sender: NodeId, number: int, order: Join) -> None:
        joined = 0
        if self.join is not None:
            try:
                joined = await self.join(order.user, order.channel)
            except Exception:  # whatever it is, it is this order's trouble only
                _log.exception("an order of another node failed", channel=order.channel)
        self._answer(sender, number, Answer(count=joined))

    def _answer(self, sender: NodeId, number: int, answer: Answer) -> None:
        try:
            self._post.send(sender, "answer", _encode(_Reply(number, answer)))
        except PostFull:
            _log.warning("an order of another node is not answered", node=sender)

    def _take_answer(self, sender: NodeId, payload: bytes) -> None:
        reply = _reply(payload)
        question = self._questions.get(reply.number)
        if question is not None:
            question.take(sender, reply.answer)
