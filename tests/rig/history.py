"""Writers that load a store and remember what it acknowledged, and the check of what is there afterwards.

Each channel has one writer, which numbers its messages without a hole as a broker does, and gives the next ones only
after the last ones were acknowledged or failed. What failed it gives again, the same messages in the same places: that
is all that chatd does about an error of its store.
"""

import time
from collections import Counter
from dataclasses import dataclass, field

import trio

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Store, StoreBusy, StoreUnavailable, append
from storage.records import StoredMessage

EPOCH = Epoch("history")
BATCH = 3  # messages that a writer gives at once
PAGE = 500
RETRY_SECONDS = 0.05


@dataclass
class History:
    """What a load did: how far each channel was acknowledged, and what went wrong on the way."""

    acknowledged: dict[ChannelName, int] = field(default_factory=dict)
    tries: Counter[int] = field(default_factory=Counter)
    """How many writes needed so many tries."""
    errors: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    """The longest time from the first try of a write to its acknowledgement."""

    @property
    def messages(self) -> int:
        """All messages that were acknowledged."""
        return sum(self.acknowledged.values())

    def __str__(self) -> str:
        again = sum(count for tries, count in self.tries.items() if tries > 1)
        return (
            f"{self.messages} messages acknowledged in {len(self.acknowledged)} channels, {again} writes given again "
            f"({max(self.tries, default=0)} tries at most), the slowest write took {self.slowest_seconds:.2f} s"
        )


class Writers:
    """Loads a store until told to stop."""

    def __init__(self, store: Store, channels: int, pause_seconds: float = 0.0) -> None:
        self.history = History()
        self._store = store
        self._channels = [ChannelName(f"room:history-{number}") for number in range(channels)]
        self._pause_seconds = pause_seconds
        self._stopping = False
        self._progress = trio.Event()

    async def run(self) -> None:
        """Write in all channels, and return when `stop` was called and the last writes are acknowledged."""
        async with trio.open_nursery() as nursery:
            for channel in self._channels:
                nursery.start_soon(self._write, channel)

    def stop(self) -> None:
        """Let every writer end with the write that it is at."""
        self._stopping = True

    async def write_more(self, messages: int) -> None:
        """Return when so many more messages were acknowledged than are now."""
        wanted = self.history.messages + messages
        while self.history.messages < wanted:
            await self._progress.wait()

    async def _write(self, channel: ChannelName) -> None:
        self.history.acknowledged[channel] = 0
        while not self._stopping:
            first = self.history.acknowledged[channel] + 1
            await self._until_kept([make_message(channel, Seq(seq)) for seq in range(first, first + BATCH)])
            self.history.acknowledged[channel] = first + BATCH - 1
            progress, self._progress = self._progress, trio.Event()
            progress.set()
            await trio.sleep(self._pause_seconds)

    async def _until_kept(self, messages: list[StoredMessage]) -> None:
        began, tries = trio.current_time(), 1
        while True:
            try:
                await append(self._store, messages)
                break
            except (StoreBusy, StoreUnavailable) as error:
                self.history.errors.append(str(error))
                tries += 1
                await trio.sleep(RETRY_SECONDS)
        self.history.tries[tries] += 1
        self.history.slowest_seconds = max(self.history.slowest_seconds, trio.current_time() - began)


def make_message(channel: ChannelName, seq: Seq) -> StoredMessage:
    """Make the one message of this place; its body follows from the place, so that another one there is seen."""
    return StoredMessage(
        channel=channel,
        epoch=EPOCH,
        seq=seq,
        sender=UserId("writer"),
        key=f"{channel}-{seq}",
        at=int(time.time() * 1000),
        body=Body(Encoding.JSON, b'{"text":"%s %d"}' % (channel.encode(), seq)),
    )


async def faults(store: Store, history: History) -> list[str]:
    """Read every channel from its beginning; return a line for each thing that should not be there, or is missing."""
    found = []
    for channel, acknowledged in history.acknowledged.items():
        seqs = []
        last = Seq(0)
        while page := await store.history(channel, after=last, limit=PAGE):
            found += [f"{channel} {message.seq}: another body" for message in page if not _is_ours(message)]
            seqs += [message.seq for message in page]
            last = page[-1].seq
        # What was given last and never acknowledged may be there or not; what was, must be.
        if seqs != list(range(1, len(seqs) + 1)):
            found.append(f"{channel}: not all of 1 to {len(seqs)}, once and in order")
        if len(seqs) < acknowledged:
            found.append(f"{channel}: {acknowledged} acknowledged, {len(seqs)} kept")
    return found


def _is_ours(message: StoredMessage) -> bool:
    wanted = make_message(message.channel, message.seq)
    return (message.key, message.body, message.epoch) == (wanted.key, wanted.body, wanted.epoch)
