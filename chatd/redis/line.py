"""One pipelined connection to one Redis server, kept up as long as its task runs.

Theory of operation. `send` takes a packed command and a callback and returns at once. Everything that one turn of trio
brings is written with one call; everything that one read brings is parsed by hiredis and handed to the callbacks in one
go, in the order of the commands. No task is woken for an answer, and none exists for a command. When the connection
ends, or no answer comes for `redis.reply_seconds`, every open command is answered with `RedisUnavailable` and the line
connects again. A command is never sent twice by the line: only who sent it knows whether that is harmless.
"""

import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import hiredis
import structlog
import trio
from trio.lowlevel import Abort, Task

from chatd.config import Redis
from chatd.redis import RedisBusy, RedisError, RedisUnavailable
from chatd.redis.addresses import Address
from chatd.redis.connect import READ_BYTES, Dialer, new_reader
from chatd.redis.plain import PlainStream

Done = Callable[[Any], None]
"""Takes the answer: what hiredis makes of it, or a `RedisError` (returned, not raised). Must not wait or raise."""

# The longest pause between two tries to connect.
_PAUSE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05

_log = structlog.get_logger("redis")


class Line:
    """Sends commands to one server. All methods but `run` return at once."""

    def __init__(self, address: Address, dialer: Dialer, config: Redis, random: Callable[[], float]) -> None:
        self.address = address
        self.run_id = ""
        self.error: RedisError | None = None  # why it is not connected
        self.down_since: float | None = trio.current_time()  # None while it is connected
        self.on_connected: Callable[[Line], None] = lambda _: None
        self.on_failed: Callable[[Line], None] = lambda _: None
        self.on_answers: Callable[[], None] = lambda: None  # after all callbacks of one read
        self._dialer = dialer
        self._config = config
        self._random = random
        self._waiting: deque[Done] | None = None  # who waits for answers, in their order; None: not connected
        self._out: list[bytes] = []
        self._writer: Task | None = None
        self._answers = 0
        self._reader: hiredis.Reader | None = None  # of the connection, while there is one
        self._stream: PlainStream | None = None  # the connection, if it can be read at once

    @property
    def is_up(self) -> bool:
        """Whether commands can be sent."""
        return self._waiting is not None

    @property
    def waiting(self) -> int:
        """How many commands have no answer yet."""
        return len(self._waiting) if self._waiting is not None else 0

    def send(self, command: bytes, done: Done) -> None:
        """Send a packed command when the turn is over; `done` gets the answer.

        Raises:
            RedisUnavailable: It was not sent, and `done` will not be called.
        """
        waiting = self._waiting
        if waiting is None:
            raise RedisUnavailable(f"Redis at {self.address} cannot be reached", ran=False)
        if len(waiting) >= self._config.waiting_calls:
            raise RedisBusy
        waiting.append(done)
        self._out.append(command)
        if self._writer is not None:
            writer, self._writer = self._writer, None
            trio.lowlevel.reschedule(writer)

    async def run(self) -> None:
        """Keep the connection up, until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                greeted = await self._dialer.open(self.address)
            except RedisError as error:
                if self.error is None or str(error) != str(self.error):
                    _log.warning("no connection to redis", server=str(self.address), error=str(error))
                self.error = error
                self.on_failed(self)
                await trio.sleep(pause * (0.5 + self._random()))
                pause = min(_PAUSE_SECONDS, pause * 2)
                continue
            pause = _FIRST_PAUSE_SECONDS
            self.run_id = greeted.run_id
            await self._serve(greeted.stream)
            self.on_failed(self)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Use a connection until it ends."""
        self._waiting, self._out, self.error, self.down_since = deque(), [], None, None
        waiting = self._waiting
        self._reader = new_reader()
        self._stream = stream if isinstance(stream, PlainStream) else None
        ends: list[str] = []  # why, by whoever noticed first
        try:
            self.on_connected(self)
            async with trio.open_nursery() as nursery:
                for loop in (
                    self._write_loop(stream),
                    self._watch_loop(),
                    self._read_loop(stream, waiting),
                ):
                    nursery.start_soon(_until_end, loop, ends, nursery.cancel_scope)
        finally:
            reason = ends[0] if ends else "the node leaves"
            self._waiting, self._out, self._writer, self.down_since = None, [], None, trio.current_time()
            self._reader = self._stream = None
            lost = RedisUnavailable(f"the connection to Redis at {self.address} was lost: {reason}")
            self.error = lost
            for done in waiting:
                _call(done, lost)
            _call_safely(self.on_answers)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
        _log.warning("connection to redis lost", server=str(self.address), reason=reason, open_commands=len(waiting))

    async def _read_loop(self, stream: trio.abc.Stream, waiting: deque[Done]) -> str:
        """Hand out answers until the connection ends; return why it did."""
        while True:
            try:
                data = await stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
                return str(error) or "broken"
            if not data:
                return "closed by the server"
            self._take(bytes(data), waiting)

    def read_nowait(self) -> None:
        """Hand out the answers that are there already, before what came another way. Never waits and never raises."""
        if self._stream is not None and self._waiting:
            data = self._stream.receive_nowait()
            if data:
                self._take(data, self._waiting)

    def _take(self, data: bytes, waiting: deque[Done]) -> None:
        reader = self._reader
        assert reader is not None
        reader.feed(data)
        while (answer := reader.gets()) is not False:
            self._answers += 1
            _call(waiting.popleft(), answer)
        _call_safely(self.on_answers)

    async def _write_loop(self, stream: trio.abc.Stream) -> str:
        """Write what each turn brings; return why that cannot go on."""
        try:
            while True:
                while self._out:
                    out, self._out = self._out, []
                    await stream.send_all(b"".join(out))
                await self._sleep()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
            return str(error) or "broken"

    async def _sleep(self) -> None:
        self._writer = trio.lowlevel.current_task()

        def abort(_: object) -> Abort:
            self._writer = None
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _watch_loop(self) -> str:
        """Give up a connection on which commands wait and nothing is answered: the server hangs, or the path is dead.

        It counts quiet periods instead of keeping a time for each command, which would cost more than the rest of it.
        """
        periods = 4
        quiet = 0
        answers = self._answers
        while quiet < periods:
            await trio.sleep(self._config.reply_seconds / periods)
            quiet = quiet + 1 if self._waiting and self._answers == answers else 0
            answers = self._answers
        return f"no answer for {self._config.reply_seconds:g} seconds"


async def _until_end(loop: Coroutine[Any, Any, str], ends: list[str], scope: trio.CancelScope) -> None:
    """Run one loop of a connection; when it ends, so does the connection."""
    ends.append(await loop)
    scope.cancel()


def _call(done: Done, answer: object) -> None:
    try:
        done(answer)
    except Exception:
        _log.exception("an answer of redis could not be taken")


def _call_safely(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        _log.exception("answers of redis could not be taken")
