"""Sends messages until they are answered: over reconnects, with the same key, in the order in which they were given."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from client.answers import Sent, read_sent
from client.connection import Connection, Raw
from client.errors import ClientError, RequestError
from client.places import Places
from client.sending import Outgoing, Sending

OWN_KEYS = 10_000
PAUSE_SECONDS = 1.0
UNANSWERED = 1000


class Sender:
    """Owns the messages that wait for their answer. At most a thousand wait at once; more callers wait before that."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._sending = Sending()
        self._slots = trio.Semaphore(UNANSWERED)
        self._changed = trio.Event()
        self._connection: Connection | None = None
        self.own_keys: dict[str, None] = {}
        """The keys of the latest messages of this client, the newest last."""

    async def send(
        self, channel: str, key: str, data: dict[str, Any], *, retry: bool, more: Mapping[str, Any] | None = None
    ) -> Sent:
        """Send one message and wait until it is answered for good. `more` are further fields of the command.

        Raises:
            RequestError: It was refused for good.
            ClientError: What `stop` was given.
        """
        if key in self._sending:
            raise ValueError(f"a message with the key {key!r} is on its way already")
        done = trio.Event()
        results: list[Sent | Exception] = []

        def finish(result: Sent | Exception) -> None:
            if not results:
                results.append(result)
            done.set()

        outgoing = Outgoing(channel, key, data, finish, tried=retry, more=more or {})
        self._remember(key)
        async with self._slots:
            self._sending.add(outgoing)
            self.wake()
            try:
                await done.wait()
            finally:
                self._sending.remove(outgoing)
                self.wake()
        [result] = results
        if isinstance(result, Exception):
            raise result
        return result

    def is_busy(self, channel: str) -> bool:
        """Tell whether a message to this channel is in flight."""
        return self._sending.is_busy(channel)

    async def changed(self) -> None:
        """Wait until a message was given, answered, or went back to waiting."""
        await self._changed.wait()

    def use(self, connection: Connection | None) -> None:
        """Send on this connection from now on; None: wait for the next one."""
        self._connection = connection
        self.wake()

    def stop(self, error: ClientError) -> None:
        """Give up every message, for no connection comes any more."""
        for outgoing in self._sending.all():
            self._finish(outgoing, error)

    def wake(self) -> None:
        """Look again at what may go out."""
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Send what may go out, whenever that changes."""
        while True:
            changed = self._changed
            self._pump()
            pause = self._sending.paused_until
            deadline = pause if pause > trio.current_time() else float("inf")
            with trio.CancelScope(deadline=deadline):
                await changed.wait()

    def _pump(self) -> None:
        while self._connection and (outgoing := self._sending.next(trio.current_time())):
            command: Raw = {"type": "send", "channel": outgoing.channel, "key": outgoing.key, "data": outgoing.data}
            command.update(outgoing.more)
            if outgoing.tried:
                command["retry"] = True
            try:
                if not self._connection.begin(command, partial(self._on_answer, outgoing)):
                    self._sending.landed(outgoing, is_tried=outgoing.tried)
                    self._connection = None
            except (ValueError, TypeError, OverflowError) as error:
                self._finish(outgoing, error)

    def _on_answer(self, outgoing: Outgoing, answer: Raw | ClientError) -> None:
        self._sending.landed(outgoing)
        match answer:
            case RequestError(may_retry=True):
                wait = PAUSE_SECONDS if answer.retry_after is None else answer.retry_after
                self._sending.pause(trio.current_time() + wait)
            case RequestError():
                self._finish(outgoing, answer)
            case ClientError():
                pass  # the connection ended: the next one takes it
            case _:
                sent = read_sent(answer)
                self._places.sent(sent)
                self._finish(outgoing, sent)
        self.wake()

    def _finish(self, outgoing: Outgoing, result: Sent | Exception) -> None:
        # Removed here, not by its task, which runs later: the next pump must not see it.
        self._sending.remove(outgoing)
        outgoing.done(result)

    def _remember(self, key: str) -> None:
        self.own_keys[key] = None
        if len(self.own_keys) > OWN_KEYS:
            del self.own_keys[next(iter(self.own_keys))]
