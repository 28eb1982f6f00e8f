"""A store of messages whose timing is in the test's hands: nothing is kept, told or read before the test says so."""

from collections import deque
from collections.abc import Sequence
from typing import cast

import trio

from protocol.body import json_body
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Done, Store, StoreBusy, StoreError, StoreUnavailable
from storage.records import Place, StoredMessage


class HeldStore:
    """Implements the messages and the small values of `storage.Store`, in memory.

    Writes wait until `release` keeps and tells them, or `fail` loses them. With `reads_wait`, reads wait as well, until
    `let_read`; they then return what there was when they began, as a database may.
    """

    def __init__(self) -> None:
        self.kept: dict[ChannelName, dict[Seq, StoredMessage]] = {}
        self.meta: dict[str, str] = {}
        self.waiting: deque[tuple[list[StoredMessage], Done]] = deque()
        self.is_busy = False
        self.read_error: StoreError | None = None
        self.reads_wait = False
        self.reads = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._untold: deque[Done] = deque()

    def as_store(self) -> Store:
        """Give it to who wants a whole store, but asks for messages only."""
        return cast(Store, self)

    # What the test does.

    def keep(self) -> None:
        """Keep the oldest waiting write, but do not tell it yet."""
        messages, done = self.waiting.popleft()
        for message in messages:
            of_channel = self.kept.setdefault(message.channel, {})
            there = of_channel.get(message.seq)
            assert there is None or (there.epoch, there.sender, there.key) == (
                message.epoch,
                message.sender,
                message.key,
            ), f"two messages have the place {message.channel} {message.seq}"
            of_channel[message.seq] = message
        self._untold.append(done)

    def tell(self) -> None:
        """Tell everything that is kept, in order."""
        while self._untold:
            self._untold.popleft()(None)

    def deny(self) -> None:
        """Keep the oldest waiting write, and tell that it failed, as a store does that was lost before it answered."""
        self.keep()
        self._untold.pop()(StoreUnavailable("no answer"))

    def release(self, count: int = 1) -> None:
        """Keep and tell the oldest waiting writes, if there are so many."""
        for _ in range(min(count, len(self.waiting))):
            self.keep()
        self.tell()

    def release_all(self) -> None:
        """Keep and tell everything that waits now."""
        self.release(len(self.waiting))

    def fail(self, error: StoreError | None = None) -> None:
        """Lose everything that waits, and tell it."""
        self.tell()
        waiting, self.waiting = self.waiting, deque()
        for _, done in waiting:
            done(error or StoreUnavailable("the disk is full"))

    def let_read(self, count: int = 1) -> None:
        """Let waiting reads go on."""
        self._readers.unpark(count=count)

    def seqs(self, channel: str) -> list[int]:
        """Return which seqs of a channel are kept."""
        return sorted(self.kept.get(ChannelName(channel), {}))

    # What the store does.

    def submit(self, messages: Sequence[StoredMessage], done: Done) -> None:
        """Let a write wait for the test."""
        if self.is_busy:
            raise StoreBusy("too much waits already")
        self.waiting.append((list(messages), done))

    async def head(self, channel: ChannelName) -> Place | None:
        """Return the newest place."""
        of_channel = self._of(channel)
        await self._read()
        return of_channel[-1].place if of_channel else None

    async def history(
        self, channel: ChannelName, *, before: Seq | None = None, after: Seq | None = None, limit: int
    ) -> list[StoredMessage]:
        """Read a page."""
        found = [
            message
            for message in self._of(channel)
            if (before is None or message.seq < before) and (after is None or message.seq > after)
        ]
        await self._read()
        return found[:limit] if after is not None else found[max(0, len(found) - limit) :]

    async def find(self, sender: UserId, key: str, since: int) -> StoredMessage | None:
        """Look for a key."""
        found = [
            message
            for channel in self.kept
            for message in self._of(channel)
            if (message.sender, message.key) == (sender, key) and message.at > since
        ]
        await self._read()
        return found[-1] if found else None

    async def get_meta(self, name: str) -> str | None:
        """Return a small value."""
        return self.meta.get(name)

    async def put_meta(self, name: str, value: str | None) -> None:
        """Keep or remove a small value."""
        self.meta.pop(name, None)
        if value is not None:
            self.meta[name] = value

    def _of(self, channel: ChannelName) -> list[StoredMessage]:
        of_channel = self.kept.get(channel, {})
        return [of_channel[seq] for seq in sorted(of_channel)]

    async def _read(self) -> None:
        self.reads += 1
        if self.reads_wait:
            await self._readers.park()
        else:
            await trio.lowlevel.checkpoint()
        if self.read_error is not None:
            raise self.read_error


def stored(
    channel: str, seq: int, *, epoch: str = "old", sender: str = "alice", key: str | None = None, at: int = 1000
) -> StoredMessage:
    """Make a message that is kept already."""
    return StoredMessage(
        channel=ChannelName(channel),
        epoch=Epoch(epoch),
        seq=Seq(seq),
        sender=UserId(sender),
        key=f"key-{seq}" if key is None else key,
        at=at,
        body=json_body({"n": seq}),
    )
