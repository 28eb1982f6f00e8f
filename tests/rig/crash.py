"""A node that dies at one exact step of an append: its tasks are cancelled, its connections cut, nothing is told.

Cancelling takes effect at once for all that waits: from that call on nothing of the node writes to a socket, and what
it has in memory is lost.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import cast

import trio

from chatd.broker.appending import Append
from chatd.config import Redis
from chatd.redis.line import Done as OnAnswer
from chatd.redis.servers import Servers
from protocol.names import UserId
from storage import Done, Store
from storage.records import StoredMessage
from storage.sqlite import SqliteStore
from tests.rig.redis import RedisServer
from tests.rig.redis_broker import Street

_TAKE_OFF = b"$4\r\nXDEL\r\n"


class Step(Enum):
    """Where the node dies, in the order of an append."""

    BEFORE_SCRIPT = "before the script"
    BEFORE_REPLY = "after the script, before its reply is read"
    BEFORE_STORE = "after the reply, before the store"
    WHILE_STORING = "while the store writes"
    AFTER_STORE = "after the store, before anybody knows"
    BEFORE_POST = "before the members' nodes are asked for"
    BETWEEN_POSTS = "after one of the members' nodes has it, before the next"
    BEFORE_TAKING_OFF = "before it is taken off"
    BEFORE_ANSWER = "after it was taken off, before the answer"


class Crash:
    """Ends the node whose tasks are in `life` at the step, when it comes to it for the n-th time."""

    def __init__(self, step: Step, after: int, redis: RedisServer) -> None:
        self.life = trio.CancelScope()
        self.is_dead = False
        self.redis = redis
        self._step = step
        self._left = after

    def at(self, step: Step) -> bool:
        """Tell whether the node is dead, after letting it die if this is the moment."""
        if step is self._step:
            self._left -= 1
            if self._left < 0:
                self.is_dead = True
                self.life.cancel()
        return self.is_dead

    def servers(self, config: Redis, name: str) -> Servers:
        """Make the node's connections."""
        return _CrashingServers(config, name, self)

    def store(self, store: SqliteStore) -> Store:
        """Give the node its store."""
        return cast(Store, _CrashingStore(store, self))

    def street(self, street: Street) -> Street:
        """Give the node its way to the others."""
        return _CrashingStreet(street, self)


class _CrashingServers(Servers):
    def __init__(self, config: Redis, name: str, crash: Crash) -> None:
        super().__init__(config, name)
        self._crash = crash

    def send(self, shard: int, command: bytes, done: OnAnswer) -> None:
        crash = self._crash
        if isinstance(getattr(done, "__self__", None), Append):
            if crash.at(Step.BEFORE_SCRIPT):
                return
            super().send(shard, command, lambda answer: None if crash.at(Step.BEFORE_REPLY) else done(answer))
        elif _TAKE_OFF in command:
            if crash.at(Step.BEFORE_TAKING_OFF):
                return
            super().send(shard, command, done)
            if crash.at(Step.BEFORE_ANSWER):
                self._run_now(command)
        elif not crash.is_dead:
            super().send(shard, command, done)

    def _run_now(self, command: bytes) -> None:
        """Let the server have the command although the connection is cut."""
        words = command.split(b"\r\n")[2::2]
        with self._crash.redis.client() as client:
            client.execute_command(*words)  # type: ignore[no-untyped-call]


class _CrashingStore:
    def __init__(self, store: SqliteStore, crash: Crash) -> None:
        self._store = store
        self._crash = crash

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Write, unless the node is dead by then."""
        crash = self._crash
        if crash.at(Step.BEFORE_STORE):
            return
        self._store.submit(messages, lambda error: None if crash.at(Step.AFTER_STORE) else done(error))
        crash.at(Step.WHILE_STORING)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


class _CrashingStreet(Street):
    def __init__(self, street: Street, crash: Crash) -> None:
        super().__init__(street.homes)
        self.takers = street.takers
        self._crash = crash

    async def nodes_of(self, users: Collection[UserId]) -> Mapping[str, Sequence[UserId]]:
        self._crash.at(Step.BEFORE_POST)
        return await super().nodes_of(users)

    def send(self, node: str, payload: bytes) -> None:
        if not self._crash.at(Step.BETWEEN_POSTS):
            super().send(node, payload)
