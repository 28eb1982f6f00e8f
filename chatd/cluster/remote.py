"""Sessions on other nodes: found, ended, subscribed and unsubscribed by a server command that came to this one.

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
from chatd.cluster.post import EVERYBODY, Post, PostFull
from chatd.config import Cluster
from chatd.hub import Hub
from chatd.session import Session
from protocol.codes import ErrorCode
from protocol.messages import SessionState, Unsubscribed
from protocol.names import ChannelName, DeviceId, UserId

_log = structlog.get_logger("cluster")


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """Close a session, or all of a user, with this code."""

    user: str = ""
    session: str = ""
    code: int
    reason: str


class Join(msgspec.Struct, frozen=True, kw_only=True, tag="join"):
    """Subscribe every session of a user to a channel."""

    user: UserId
    channel: ChannelName


class Kick(msgspec.Struct, frozen=True, kw_only=True, tag="kick"):
    """End the subscriptions of a user to a channel, and say why."""

    user: UserId
    channel: ChannelName
    reason: str


class Find(msgspec.Struct, frozen=True, kw_only=True, tag="find"):
    """Name sessions, of one user or (empty) of all, whose ids come after `after`."""

    user: str = ""
    after: str = ""
    limit: int


class Revoke(msgspec.Struct, frozen=True, kw_only=True, tag="revoke"):
    """Let a device in no more, and close its sessions. Not answered."""

    device: DeviceId


Order = End | Join | Kick | Find | Revoke


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did: of how many sessions, and which were found."""

    count: int = 0
    sessions: list[SessionState] = []


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
        ask = _ask(payload)
        match ask.order:
            case End() as order:
                self._answer(sender, ask.number, Answer(count=end(self._hub, order)))
            case Kick() as order:
                self._answer(sender, ask.number, Answer(count=kick(self._hub, order)))
            case Find() as order:
                self._answer(sender, ask.number, Answer(sessions=find(self._hub, order)))
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


def end(hub: Hub, order: End) -> int:
    """Close sessions of this node; return how many."""
    sessions = _of(hub, order.user) if order.user else _one(hub, order.session)
    for session in sessions:
        session.close(order.code, order.reason)
    return len(sessions)


def kick(hub: Hub, order: Kick) -> int:
    """End subscriptions on this node; return how many."""
    gone = [session for session in _of(hub, order.user) if hub.unsubscribe(session, order.channel)]
    for session in gone:
        session.reply(Unsubscribed(channel=order.channel, code=ErrorCode.FORBIDDEN, reason=order.reason))
    return len(gone)


def find(hub: Hub, order: Find) -> list[SessionState]:
    """Name sessions of this node, by their ids."""
    sessions = _of(hub, order.user) if order.user else list(hub.sessions.values())
    wanted = (session for session in sessions if session.user is not None and session.id > order.after)
    return [_state(session) for session in sorted(wanted, key=lambda session: session.id)[: order.limit]]


def _of(hub: Hub, user: str) -> list[Session]:
    known = hub.users.get(UserId(user))
    return list(known.sessions) if known is not None else []


def _one(hub: Hub, session_id: str) -> list[Session]:
    session = hub.sessions.get(session_id)
    return [session] if session is not None and session.user is not None else []


def _state(session: Session) -> SessionState:
    principal = session.principal
    return SessionState(
        session=session.id,
        user=session.user.name if session.user is not None else UserId(""),
        device=principal.device if principal is not None else DeviceId(""),
        address=session.link.address,
    )
