"""The channels that are in a node's memory: brought there from the store, and forgotten when nobody uses them."""

from collections.abc import Callable
from itertools import islice

import trio

from chatd.broker.log import REBIRTH_JUMP, Log
from chatd.config import Broker, Namespace
from protocol.names import ChannelName, Epoch, Seq
from storage import COPIED_AT, Store

_CLEAN = "recent_channels_saved"
_LOST_BEFORE = "recent_channels_lost_before"

# Newest messages of a durable channel that are kept in memory: they bring back who was away for a moment, and close
# the gap between a page read from the store and what arrived meanwhile.
_DURABLE_RECENT = 64

# How many channels are looked at, to find one that can be forgotten.
_ROOM_LOOKS = 1000


class TooManyChannels(Exception):
    """`broker.open_channels` are in use; none of them can be forgotten now."""

    def __init__(self) -> None:
        super().__init__("too many channels are in use")


class Logs:
    """The logs of a node, a bounded number of them.

    `known` has those in memory; whoever needs a channel looks there first, and opens it where it is missing.
    """

    def __init__(
        self,
        store: Store,
        config: Broker,
        rules: Callable[[ChannelName], Namespace],
        in_use: Callable[[ChannelName], bool],
        clock: Callable[[], float],
        new_epoch: Callable[[], Epoch],
        opened: Callable[[Log], None],
    ) -> None:
        self.known: dict[ChannelName, Log] = {}
        self._store = store
        self._config = config
        self._rules = rules
        self._in_use = in_use
        self._clock = clock  # Unix seconds
        self._new_epoch = new_epoch
        self._opened = opened  # called with a log before anybody else has it
        self._opening: dict[ChannelName, trio.Event] = {}
        self._lost_before = 0  # Unix milliseconds: older messages may not have been their channel's last
        self._copied_at = 0

    def __len__(self) -> int:
        return len(self.known)

    async def start(self) -> None:
        """Find out when a process last ended without saving every `recent` channel."""
        if await self._store.get_meta(_CLEAN) is None:
            # Kept, because a channel that lost messages may not be opened before some later, cleaner start.
            await self._store.put_meta(_LOST_BEFORE, str(self._now()))
        self._lost_before = int(await self._store.get_meta(_LOST_BEFORE) or 0)
        await self._store.put_meta(_CLEAN, None)
        self._copied_at = int(await self._store.get_meta(COPIED_AT) or 0)

    async def all_saved(self) -> None:
        """Note that every `recent` channel is saved, and will not be changed any more."""
        await self._store.put_meta(_CLEAN, str(self._now()))

    async def run(self) -> None:
        """Forget channels that nobody used for `broker.idle_seconds`, until cancelled."""
        while True:
            await trio.sleep(self._config.idle_seconds / 4)
            oldest = self._now() - int(self._config.idle_seconds * 1000)
            for number, log in enumerate(list(self.known.values())):
                if log.used_at < oldest and self._is_idle(log) and self.known.get(log.channel) is log:
                    del self.known[log.channel]
                if number % 1000 == 999:
                    await trio.lowlevel.checkpoint()

    async def open(self, channel: ChannelName) -> Log:
        """Return the channel's log, reading where it stands from the store if it is not in memory."""
        while (log := self.known.get(channel)) is None:
            opening = self._opening.get(channel)
            if opening is not None:
                await opening.wait()
                continue
            self._make_room()
            done = self._opening[channel] = trio.Event()
            try:
                log = await self._load(channel)
                self._opened(log)
                self.known[channel] = log
            finally:
                del self._opening[channel]
                done.set()
        log.used_at = self._now()
        return log

    async def _load(self, channel: ChannelName) -> Log:
        namespace = self._rules(channel)
        if namespace.history == "durable":
            head = await self._store.head(channel)
            if head is None:
                return Log(channel, namespace, self._new_epoch(), Seq(0), _DURABLE_RECENT)
            if head.at > self._copied_at:
                return Log(channel, namespace, head.epoch, head.seq, _DURABLE_RECENT)
            # The database is a backup: what came after it was made had seqs that readers may remember.
            return Log(channel, namespace, self._new_epoch(), Seq(head.seq + REBIRTH_JUMP), _DURABLE_RECENT)
        if namespace.history == "none":
            return Log(channel, namespace, self._new_epoch(), Seq(0), 0)
        size = self._config.recent_messages
        saved = await self._store.history(channel, limit=size)
        if not saved:
            return Log(channel, namespace, self._new_epoch(), Seq(0), size)
        last = saved[-1]
        if last.at >= self._lost_before and last.at > self._copied_at:
            log = Log(channel, namespace, last.epoch, last.seq, size)
        else:
            log = Log(channel, namespace, self._new_epoch(), Seq(last.seq + REBIRTH_JUMP), size)
        log.recent.extend(saved)
        return log

    def _make_room(self) -> None:
        """See to it that one more channel fits.

        Raises:
            TooManyChannels: It does not.
        """
        if len(self.known) + len(self._opening) < self._config.open_channels:
            return
        for log in list(islice(self.known.values(), _ROOM_LOOKS)):
            del self.known[log.channel]
            if self._is_idle(log):
                return
            self.known[log.channel] = log  # behind the others: the next search goes on where this one ended
        raise TooManyChannels

    def _is_idle(self, log: Log) -> bool:
        unsaved = log.history == "recent" and log.saved < log.delivered
        return not log.waiting and not unsaved and not self._in_use(log.channel)

    def _now(self) -> int:
        return int(self._clock() * 1000)
