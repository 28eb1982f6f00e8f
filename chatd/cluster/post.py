"""Messages between nodes: small, in order, and lost rather than late.

Theory of operation. Each node hears a pub/sub channel of its own, and all hear one together. What one turn has for a
node leaves as one envelope, which names its sender and counts: so a receiver notices when one was lost, by a connection
that was replaced or a server that failed, and tells `on_lost`. Nothing is sent again: whoever needs what was lost knows
where to read it.
"""

from collections.abc import Callable

import msgspec
import structlog
import trio

from chatd.cluster import NodeId
from chatd.cluster.incarnation import Incarnation
from chatd.config import Cluster
from chatd.redis import RedisError
from chatd.redis.packing import pack
from chatd.redis.servers import Servers

Callback = Callable[[NodeId, bytes], None]
"""Takes a message: who sent it, and what it says. Must not wait or raise."""

EVERYBODY = NodeId("")
"""Every node, the own one too."""

_ALL_SHARD = 0

_log = structlog.get_logger("cluster")


class Letter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message: what it is about, and what it says."""

    kind: str
    payload: bytes


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one turn of a sender has for a receiver. `number` counts the envelopes from this sender to it."""

    sender: NodeId
    number: int
    letters: list[Letter]


_decode = msgspec.msgpack.Decoder(Envelope).decode
_encode = msgspec.msgpack.Encoder().encode


class PostFull(Exception):
    """`cluster.post_bytes` wait already; this message was not taken."""


class _Box:
    """A `Listener` of one channel of envelopes."""

    def __init__(self, post: "Post", name: NodeId) -> None:
        self._post = post
        self._name = name
        self._numbers: dict[NodeId, int] = {}
        self._was_lost = False

    def subscribed(self) -> None:
        """Hear every envelope from now on."""
        if self._was_lost:
            self._was_lost = False
            self._post.tell_lost(None)
        self._post.opened(self._name)

    def lost(self) -> None:
        """Envelopes may pass unheard."""
        self._was_lost = True
        self._numbers.clear()

    def heard(self, payload: bytes) -> None:
        """Take an envelope."""
        envelope = _decode(payload)
        before = self._numbers.get(envelope.sender)
        self._numbers[envelope.sender] = envelope.number
        if before is not None and envelope.number != before + 1:
            self._post.tell_lost(envelope.sender)
        self._post.deliver(envelope)

    def forget(self, nodes: set[NodeId]) -> None:
        """Forget the numbers of nodes that are not among these."""
        for node in [node for node in self._numbers if node not in nodes]:
            del self._numbers[node]


class Post:
    """Sends and takes messages. Messages from one sender come in their order; some may be lost."""

    def __init__(self, config: Cluster, servers: Servers, incarnation: Incarnation) -> None:
        self.on_lost: list[Callable[[NodeId | None], None]] = []
        """Called when messages of this sender, or (None) of anybody, may have been lost on the way to this node."""
        self.sent = 0
        self.taken = 0
        self.lost = 0
        self._config = config
        self._servers = servers
        self._incarnation = incarnation
        self._callbacks: dict[str, Callback] = {}
        self._waiting: dict[NodeId, list[Letter]] = {}
        self._bytes = 0
        self._numbers: dict[NodeId, int] = {}
        self._wake = trio.Event()
        self._open: set[NodeId] = set()
        self._opened = trio.Event()
        self._own = _Box(self, incarnation.node)
        self._all = _Box(self, EVERYBODY)
        incarnation.on_renewed.append(self._move)

    # Sending.

    def send(self, node: NodeId, kind: str, payload: bytes) -> None:
        """Send a message to a node, or to EVERYBODY, when the turn is over. Never waits.

        Raises:
            PostFull: Too much waits already: Redis is away, or slower than what is sent. The node will see that it
                missed something.
        """
        size = len(payload) + len(kind)
        if self._bytes + size > self._config.post_bytes:
            self._numbers[node] = self._numbers.get(node, 0) + 1
            raise PostFull
        self._bytes += size
        self._waiting.setdefault(node, []).append(Letter(kind, payload))
        self._wake.set()

    def handle(self, kind: str, callback: Callback) -> None:
        """Let `callback` take messages of a kind."""
        self._callbacks[kind] = callback

    # Its life.

    def listen(self) -> None:
        """Hear messages from now on."""
        servers, node = self._servers, self._incarnation.node
        servers.subscribe(self._shard(node), self._key(node), self._own)
        servers.subscribe(_ALL_SHARD, self._key(EVERYBODY), self._all)

    async def wait_open(self) -> None:
        """Return when this node can be reached by others."""
        while not {self._incarnation.node, EVERYBODY} <= self._open:
            await self._opened.wait()

    async def run(self) -> None:
        """Send what each turn brings, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            waiting, self._waiting, self._bytes = self._waiting, {}, 0
            for node, letters in waiting.items():
                number = self._numbers[node] = self._numbers.get(node, 0) + 1
                envelope = Envelope(self._incarnation.node, number, letters)
                if node == self._incarnation.node:
                    self.deliver(envelope)
                    continue
                shard = self._shard(node)
                try:
                    self._servers.send(shard, pack(("SPUBLISH", self._key(node), _encode(envelope))), self._note)
                except RedisError as error:
                    self._note(error)  # the receiver sees from the next number that something is missing
            await trio.lowlevel.checkpoint()

    def forget(self, nodes: set[NodeId]) -> None:
        """Forget everything about nodes that are not among these: they are gone."""
        self._own.forget(nodes)
        self._all.forget(nodes)
        for node in [node for node in self._numbers if node not in nodes and node != EVERYBODY]:
            del self._numbers[node]

    # Called by the boxes.

    def opened(self, name: NodeId) -> None:
        """Note that a channel is heard."""
        self._open.add(name)
        opened, self._opened = self._opened, trio.Event()
        opened.set()

    def deliver(self, envelope: Envelope) -> None:
        """Hand letters to their callbacks. A fault in one stays there."""
        for letter in envelope.letters:
            self.taken += 1
            callback = self._callbacks.get(letter.kind)
            if callback is None:
                continue  # of a newer version of chatd
            try:
                callback(envelope.sender, letter.payload)
            except Exception:
                _log.exception("a message of a node could not be taken", kind=letter.kind, sender=envelope.sender)

    def tell_lost(self, sender: NodeId | None) -> None:
        """Say that messages may have been lost."""
        self.lost += 1
        for tell in self.on_lost:
            tell(sender)

    def _note(self, answer: object) -> None:
        if not isinstance(answer, RedisError):
            self.sent += 1

    def _shard(self, node: NodeId) -> int:
        return self._servers.shards.of(node) if node != EVERYBODY else _ALL_SHARD

    def _key(self, node: NodeId) -> str:
        return self._servers.shards.key(self._shard(node), f"post:{node}" if node else "post")

    def _move(self, before: NodeId) -> None:
        """Hear the channel of the new incarnation instead of the old one's."""
        self._servers.unsubscribe(self._shard(before), self._key(before))
        self._numbers.clear()
        self._open.discard(before)
        node = self._incarnation.node
        self._own = _Box(self, node)
        self._servers.subscribe(self._shard(node), self._key(node), self._own)
        self.tell_lost(None)
