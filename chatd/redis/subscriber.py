"""One connection to one Redis server for sharded pub/sub: what a read brought is handed over at once.

Theory of operation. A `Listener` stands for one pub/sub channel. It is told when the server has confirmed the
subscription (`subscribed`, also after every reconnect) and when the connection that carried it is gone (`lost`):
between the two, messages may have passed unheard, and only the listener knows how to read them. Messages of one read
are given to their listeners one after the other; then `on_batch` is called once, for what is done once for all of them.
Sharded pub/sub (`SSUBSCRIBE`) costs a single server nothing and lets a cluster carry each message on one node only.
"""

import ssl
from collections.abc import Callable
from typing import Any, Protocol

import structlog
import trio

from chatd.config import Redis
from chatd.redis import RedisError
from chatd.redis.addresses import Address
from chatd.redis.connect import READ_BYTES, Dialer, new_reader
from chatd.redis.packing import pack

# Subscribed in one command: it must not hold up a server that others wait for.
_CHUNK = 500

_FIRST_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS = 1.0

_log = structlog.get_logger("redis")


class Listener(Protocol):
    """Hears one pub/sub channel. Its methods return at once and do not raise."""

    def subscribed(self) -> None:
        """Every message from now on will be heard."""

    def heard(self, payload: bytes) -> None:
        """Take one message."""

    def lost(self) -> None:
        """Messages may pass unheard from now on, until `subscribed`."""


class Subscriber:
    """Hears channels of one server. All methods but `run` return at once."""

    def __init__(self, address: Address, dialer: Dialer, config: Redis, random: Callable[[], float]) -> None:
        self.address = address
        self.listeners: dict[bytes, Listener] = {}
        self.on_read: Callable[[], None] = lambda: None  # before what one read brought is handed over
        self.on_batch: Callable[[], None] = lambda: None
        self.on_failed: Callable[[], None] = lambda: None
        self.messages = 0
        self._dialer = dialer
        self._config = config
        self._random = random
        self._shards: dict[bytes, int] = {}
        self._confirmed: set[bytes] = set()
        self._out: list[bytes] = []
        self._is_up = False
        self._wake = trio.Event()
        self._heard_since_ping = True

    # What is wanted.

    def add(self, shard: int, channel: bytes, listener: Listener) -> None:
        """Hear a channel from soon on; `listener.subscribed` says when."""
        self.listeners[channel] = listener
        self._shards[channel] = shard
        if self._is_up:
            self._say("SSUBSCRIBE", channel)

    def remove(self, channel: bytes) -> None:
        """Hear a channel no more; its listener is not called again."""
        if self.listeners.pop(channel, None) is None:
            return
        del self._shards[channel]
        self._confirmed.discard(channel)
        if self._is_up:
            self._say("SUNSUBSCRIBE", channel)

    def _say(self, *words: str | bytes) -> None:
        self._out.append(pack(words))
        self._wake.set()

    # The connection.

    async def run(self) -> None:
        """Keep the connection up while anything is to be heard, until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                greeted = await self._dialer.open(self.address)
            except RedisError:  # the line to the same server says so in the log
                self.on_failed()
                await trio.sleep(pause * (0.5 + self._random()))
                pause = min(_PAUSE_SECONDS, pause * 2)
                continue
            pause = _FIRST_PAUSE_SECONDS
            try:
                await self._serve(greeted.stream)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(greeted.stream)
            self.on_failed()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self._is_up = True
        self._out = self._all_subscriptions()
        self._wake.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop, stream, nursery.cancel_scope)
                nursery.start_soon(self._ping_loop, nursery.cancel_scope)
                await self._read_loop(stream)
                nursery.cancel_scope.cancel()
        finally:
            self._is_up = False
            self._out = []
            confirmed, self._confirmed = self._confirmed, set()
            for channel in confirmed:
                if (listener := self.listeners.get(channel)) is not None:
                    listener.lost()

    def _all_subscriptions(self) -> list[bytes]:
        """Return the commands that subscribe to everything; in a cluster one command may name one slot only."""
        by_shard: dict[int, list[bytes]] = {}
        for channel, shard in self._shards.items():
            by_shard.setdefault(shard, []).append(channel)
        return [
            pack(("SSUBSCRIBE", *channels[start : start + _CHUNK]))
            for channels in by_shard.values()
            for start in range(0, len(channels), _CHUNK)
        ]

    async def _write_loop(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        try:
            while True:
                while self._out:
                    out, self._out = self._out, []
                    await stream.send_all(b"".join(out))
                self._wake = trio.Event()
                await self._wake.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            scope.cancel()

    async def _ping_loop(self, scope: trio.CancelScope) -> None:
        """End a connection on which nothing is heard although it was pinged."""
        while True:
            self._heard_since_ping = False
            self._say("PING")
            await trio.sleep(self._config.ping_seconds)
            if not self._heard_since_ping:
                _log.warning("pub/sub connection to redis is silent", server=str(self.address))
                scope.cancel()

    async def _read_loop(self, stream: trio.abc.Stream) -> None:
        reader = new_reader()
        listeners = self.listeners
        while True:
            try:
                data = await stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
                return
            if not data:
                return
            self._heard_since_ping = True
            self.on_read()
            reader.feed(bytes(data))
            while (push := reader.gets()) is not False:
                if type(push) is list and push[0] == b"smessage":
                    listener = listeners.get(push[1])
                    if listener is not None:
                        self.messages += 1
                        try:
                            listener.heard(push[2])
                        except Exception:
                            _log.exception("a message of redis could not be taken")
                elif not self._take_other(push):
                    return
            self.on_batch()

    def _take_other(self, push: Any) -> bool:
        """Take what is no message; False when the connection must be made anew."""
        if isinstance(push, RedisError):
            _log.info("redis refuses a subscription", server=str(self.address), error=str(push))
            return False
        channel = push[1]
        if push[0] == b"ssubscribe" and channel in self.listeners:
            self._confirmed.add(channel)
            self.listeners[channel].subscribed()
        elif push[0] == b"sunsubscribe" and channel in self._confirmed:
            return False  # not asked for: the shard moves to another server
        return True
