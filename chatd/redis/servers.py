"""All Redis servers of a deployment: commands, scripts and pub/sub, addressed by shard.

    await servers.call(shard, "GET", shards.key(shard, "name"))         one command
    await servers.run_script(shard, script, (key, argument))            one script
    servers.send(shard, packed, done)                                   without a task: `done` gets the answer
    servers.subscribe(shard, key, listener)                             pub/sub of a shard

Each server has one pipelined connection for commands and one for pub/sub. When a server cannot be reached or says that
a shard is not its own, the topology is asked again; open commands are answered with `RedisUnavailable`, for only who
sent one knows whether it may be sent again.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from chatd.config import Redis
from chatd.redis import RedisError, RedisUnavailable
from chatd.redis.addresses import Address
from chatd.redis.connect import Dialer
from chatd.redis.line import Done, Line
from chatd.redis.packing import Argument, pack
from chatd.redis.scripts import Script, is_unknown_script
from chatd.redis.shards import Shards
from chatd.redis.subscriber import Listener, Subscriber
from chatd.redis.topology import Topology

# The topology is asked no more often than this, however many commands fail.
_REFRESH_SECONDS = 0.5

_log = structlog.get_logger("redis")


@dataclass(frozen=True, slots=True)
class RedisStatistics:
    """What the connections hold now, and counts since the start."""

    servers: int
    servers_up: int
    waiting_commands: int
    reconnects: int
    pubsub_channels: int
    pubsub_messages: int


class Servers:
    """Speaks to every server. `run` must be running; `start` waits until the servers can be reached once."""

    def __init__(self, config: Redis, name: str, chance: Callable[[], float] = random.random) -> None:
        self.config = config
        self.shards = Shards(config.prefix, config.shards)
        self.on_batch: list[Callable[[], None]] = []
        """Called after each read of pub/sub messages, when all of them were handed to their listeners."""
        self.on_answers: list[Callable[[], None]] = []
        """Called after each read of answers, when all of them were handed to their callbacks."""
        self.on_connected: list[Callable[[Line], None]] = []
        """Called whenever a line is up again; `Line.run_id` tells whether the server's process is another one."""
        self._chance = chance
        self._dialer = Dialer(config, name)
        self._topology = Topology(config, self.shards, self._dialer)
        self._lines: list[Line] = []  # by shard
        self._by_address: dict[Address, tuple[Line, Subscriber, trio.CancelScope]] = {}
        self._subscribers: list[Subscriber] = []  # by shard
        self._listeners: dict[bytes, tuple[int, Listener]] = {}
        self._scripts: list[Script] = []
        self._nursery: trio.Nursery | None = None
        self._refresh = trio.Event()
        self._up = trio.Event()  # replaced whenever some line comes up
        self._reconnects = 0

    # Its life.

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all connections up, until cancelled. It is started when where the shards are is known.

        Raises:
            RedisUnavailable: Nobody says where the shards are.
        """
        await self._topology.refresh()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._apply()
            task_status.started()
            await self._refresh_loop()

    async def start(self) -> None:
        """Return when every server is connected.

        Raises:
            RedisUnavailable: Some server was not within `redis.connect_seconds`.
        """
        with trio.move_on_after(self.config.connect_seconds):
            for shard in range(self.shards.count):
                await self.wait_up(shard)
            return
        missing = [line for line in self.lines() if not line.is_up]
        raise RedisUnavailable("; ".join(map(_why_down, missing)) or "redis does not answer", ran=False)

    async def _refresh_loop(self) -> None:
        while True:
            await self._refresh.wait()
            await trio.sleep(_REFRESH_SECONDS)
            self._refresh = trio.Event()
            try:
                await self._topology.refresh()
            except RedisError as error:
                _log.warning("where the shards are is not known", error=str(error))
                self._refresh.set()
            except Exception:  # whatever it is, the node goes on with what it knew
                _log.exception("where the shards are could not be taken")
                self._refresh.set()
            else:
                self._apply()

    def _apply(self) -> None:
        """Make connections to new servers, end those to servers without shards, and move subscriptions."""
        assert self._nursery is not None
        addresses = self._topology.addresses()
        for address in addresses:
            if address not in self._by_address:
                self._open(address, self._nursery)
        self._lines = [self._by_address[address][0] for address in self._topology.known]
        before, self._subscribers = (
            self._subscribers,
            [self._by_address[address][1] for address in self._topology.known],
        )
        if before:
            for channel, (shard, listener) in self._listeners.items():
                if before[shard] is not self._subscribers[shard]:
                    before[shard].remove(channel)
                    listener.lost()
                    self._subscribers[shard].add(shard, channel, listener)
        for address in set(self._by_address) - set(addresses):
            self._by_address.pop(address)[2].cancel()

    @property
    def layout(self) -> str:
        """Say what decides where a shard is: who has another layout looks for the same channel elsewhere.

        Who calls a single server by another name still finds everything there.
        """
        config = self.config
        are_hashed = config.kind == "servers" and len(config.servers) > 1
        where = f" on {', '.join(sorted(config.servers))}" if are_hashed else ""
        return f"{config.shards} shards{where}"

    def _open(self, address: Address, nursery: trio.Nursery) -> None:
        line = Line(address, self._dialer, self.config, self._chance)
        subscriber = Subscriber(address, self._dialer, self.config, self._chance)
        scope = trio.CancelScope()
        line.on_connected = self._connected
        line.on_answers = self._answered
        line.on_failed = lambda _: self.look_again()
        subscriber.on_failed = self.look_again
        subscriber.on_read = line.read_nowait  # what is known from an answer need not be read from pub/sub
        subscriber.on_batch = self._batch

        async def serve() -> None:
            with scope:
                async with trio.open_nursery() as both:
                    both.start_soon(line.run)
                    both.start_soon(subscriber.run)

        self._by_address[address] = (line, subscriber, scope)
        nursery.start_soon(serve)

    def _connected(self, line: Line) -> None:
        self._reconnects += 1
        for script in self._scripts:
            line.send(script.load_command(), _ignore)
        for callback in self.on_connected:
            callback(line)
        up, self._up = self._up, trio.Event()
        up.set()

    def _answered(self) -> None:
        for callback in self.on_answers:
            callback()

    def _batch(self) -> None:
        for callback in self.on_batch:
            callback()

    def look_again(self) -> None:
        """Ask where the shards are, soon: something failed."""
        if self._topology.changes:
            self._refresh.set()

    # Commands.

    def line(self, shard: int) -> Line:
        """Return the connection to the shard's server."""
        return self._lines[shard]

    def lines(self) -> list[Line]:
        """Return the connections to all servers."""
        return [line for line, _, _ in self._by_address.values()]

    async def wait_up(self, shard: int) -> None:
        """Return when the shard's server is connected."""
        while not self._lines[shard].is_up:
            await self._up.wait()

    def send(self, shard: int, command: bytes, done: Done) -> None:
        """Send a packed command when the turn is over; `done` gets the answer or a `RedisError`.

        Raises:
            RedisUnavailable: It was not sent, and `done` will not be called.
        """
        self._lines[shard].send(command, done)

    async def call(self, shard: int, *command: Argument) -> Any:
        """Run one command on the shard's server and return its answer: bytes, int, list or None.

        Cancelling it leaves the command to run.

        Raises:
            RedisUnavailable: There is no answer; see its `ran`.
            RedisRefused: The server refused it.
        """
        return await self._ask(self._lines[shard], pack(command))

    async def run_script(self, shard: int, script: Script, arguments: Sequence[Argument]) -> Any:
        """Run a script whose keys are the shard's, and return its answer. Raises as `call` does."""
        line = self._lines[shard]
        try:
            return await self._ask(line, script.command(arguments))
        except RedisError as error:
            if not is_unknown_script(error):
                raise
        return await self._ask(line, script.whole_command(arguments))

    def load(self, *scripts: Script) -> None:
        """Let every server know these scripts, now and whenever it is connected again."""
        self._scripts += scripts
        for line in self.lines():
            if line.is_up:
                for script in scripts:
                    line.send(script.load_command(), _ignore)

    def load_again(self, shard: int, script: Script) -> None:
        """Let the shard's server know a script that it has forgotten."""
        with suppress(RedisUnavailable):
            self._lines[shard].send(script.load_command(), _ignore)

    async def _ask(self, line: Line, command: bytes) -> Any:
        answered = trio.Event()
        answer: Any = None

        def done(given: Any) -> None:
            nonlocal answer
            answer = given
            answered.set()

        line.send(command, done)
        await answered.wait()
        if isinstance(answer, RedisError):
            if isinstance(answer, RedisUnavailable):
                self.look_again()
            raise answer
        return answer

    # Pub/sub.

    def subscribe(self, shard: int, key: str, listener: Listener) -> None:
        """Hear a pub/sub channel of a shard (named by `Shards.key`), until `unsubscribe`. Never waits."""
        channel = key.encode()
        self._listeners[channel] = (shard, listener)
        self._subscribers[shard].add(shard, channel, listener)

    def unsubscribe(self, shard: int, key: str) -> None:
        """Hear a pub/sub channel no more; its listener is not called again."""
        channel = key.encode()
        if self._listeners.pop(channel, None) is not None:
            self._subscribers[shard].remove(channel)

    def missing(self) -> str | None:
        """Say which server could not be reached for `redis.away_seconds`; None if there is none."""
        since = trio.current_time() - self.config.away_seconds
        for line in self.lines():
            if line.down_since is not None and line.down_since <= since:
                return f"Redis at {line.address} cannot be reached"
        return None

    def statistics(self) -> RedisStatistics:
        """Return counts for /metrics."""
        lines = self.lines()
        return RedisStatistics(
            servers=len(lines),
            servers_up=sum(line.is_up for line in lines),
            waiting_commands=sum(line.waiting for line in lines),
            reconnects=max(0, self._reconnects - len(lines)),
            pubsub_channels=len(self._listeners),
            pubsub_messages=sum(subscriber.messages for _, subscriber, _ in self._by_address.values()),
        )


def _ignore(_: object) -> None:
    """Take the answer to what shows later whether it worked."""


def _why_down(line: Line) -> str:
    """Say of a server that is not connected why, and which one it is."""
    reason = str(line.error) if line.error is not None else "it does not answer: is it Redis, with or without TLS?"
    return reason if str(line.address) in reason else f"Redis at {line.address}: {reason}"
