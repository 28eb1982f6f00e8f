"""Saves the newest messages of `recent` channels, soon after they were acknowledged, without anybody waiting for it."""

import structlog

from chatd.broker.log import Log
from chatd.config import Broker
from chatd.intervals import work_every
from protocol.names import Seq
from storage import Store, append
from storage.records import StoredMessage

_log = structlog.get_logger("broker")


class Saver:
    """Takes the channels with unsaved messages in turn, a bounded number of messages a second.

    Under more load than that, messages that the channel itself does not remember any more are never saved, and the
    rest gets its turn later: memory and work stay bounded.
    """

    def __init__(self, store: Store, config: Broker) -> None:
        self._store = store
        self._interval = config.save_seconds
        self._rows = max(1, int(config.save_rows_per_second * config.save_seconds))
        self._unsaved: dict[Log, None] = {}

    def add(self, log: Log) -> None:
        """Note that a channel has something to save."""
        self._unsaved[log] = None

    async def run(self) -> None:
        """Save what there is, in intervals, until cancelled."""
        await work_every(self._interval, self._save, _log, "recent channels are not saved")

    async def save_all(self) -> None:
        """Save everything.

        Raises:
            StoreError: Not everything could be saved.
        """
        while self._unsaved:
            await self._save()

    async def _save(self) -> None:
        """Save a bounded number of messages, of the channels that wait the longest."""
        messages: list[StoredMessage] = []
        reached: dict[Log, Seq] = {}
        for log in list(self._unsaved):
            room = self._rows - len(messages)
            if room <= 0:
                break
            new = [message for message in log.recent if message.seq > log.saved][:room]
            messages.extend(new)
            reached[log] = new[-1].seq if new else log.delivered
        if messages:
            await append(self._store, messages)
        for log, seq in reached.items():
            log.saved = max(log.saved, seq)
            del self._unsaved[log]
            if log.saved < log.delivered:
                self._unsaved[log] = None  # at the end of the line
