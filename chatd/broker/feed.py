"""One subscribed channel on a node: what Redis sends out, in order, and what was missed put back in its place.

Pure state: it decides, and `feeds.py` reads what it asks for.
"""

import msgspec

from chatd.broker import EXPIRED_KIND, Routed
from chatd.broker.log import Log
from protocol.body import json_body
from protocol.names import ChannelName, Epoch, Seq
from storage.records import StoredMessage

Item = tuple[StoredMessage, Routed]


class Feed:
    """Where a node stands in a channel. `log` has what was delivered last; None until the feed has begun."""

    __slots__ = ("channel", "held", "is_live", "is_overfull", "is_reading", "log", "max_held")

    def __init__(self, channel: ChannelName, max_held: int) -> None:
        self.channel = channel
        self.log: Log | None = None
        self.is_live = False  # what comes next follows what was delivered
        self.is_reading = False  # somebody reads what was missed
        self.is_overfull = False  # more was held back than may be: read again
        self.held: list[Item] = []
        self.max_held = max_held

    def take(self, item: Item) -> bool | None:
        """Take what came: True, deliver it now · False, it was delivered before · None, it has to wait."""
        message = item[0]
        log = self.log
        if self.is_live and log is not None and message.epoch == log.epoch:
            if message.seq == log.delivered + 1:
                log.arrived(message)
                return True
            if message.seq <= log.delivered:
                return False
        self.is_live = False
        if len(self.held) < self.max_held:
            self.held.append(item)
        else:
            self.is_overfull = True
        return None

    def has(self, epoch: Epoch, seq: Seq) -> bool:
        """Tell whether the message of a place was delivered, as far as that can be told at once."""
        log = self.log
        return self.is_live and log is not None and epoch == log.epoch and seq <= log.delivered

    def follow(self, message: StoredMessage) -> bool:
        """Take a message if it is live and this is what follows; tell whether it is to be delivered now."""
        log = self.log
        if not self.is_live or log is None or message.seq != log.delivered + 1 or message.epoch != log.epoch:
            return False
        log.arrived(message)
        return True

    def is_next(self, message: StoredMessage) -> bool:
        """Tell whether a message follows what was delivered."""
        log = self.log
        return log is not None and (message.epoch, message.seq) == (log.epoch, log.delivered + 1)

    def begin(self, log: Log) -> None:
        """Stand somewhere: nothing before it is delivered here."""
        self.log = log

    def hide(self, place: tuple[Epoch, Seq]) -> None:
        """Let what is remembered of a message say nothing any more."""
        recent = self.log.recent if self.log is not None else ()
        for message in recent:
            if (message.epoch, message.seq) == place and self.log is not None:
                ended = msgspec.structs.replace(message, body=json_body({}), kind=EXPIRED_KIND)
                self.log.revise(ended)
                return

    def missed(self, items: list[Item]) -> list[Item]:
        """Take what was read; return what of it is to be delivered."""
        return [item for item in items if self._follows(item[0])]

    def release(self) -> list[Item]:
        """Return what was held back and follows what was delivered; if it `is_live` then, nothing is missing."""
        held, self.held = sorted(self.held, key=_place_of), []
        overfull, self.is_overfull = self.is_overfull, False
        delivered: list[Item] = []
        for number, item in enumerate(held):
            message, log = item[0], self.log
            if log is None or self._is_known(message):
                continue
            if message.epoch != log.epoch or message.seq != log.delivered + 1:
                self.held = held[number:]
                return delivered
            log.arrived(message)
            delivered.append(item)
        self.is_live = not overfull
        return delivered

    def _follows(self, message: StoredMessage) -> bool:
        """Stand at a message if it is later than where the feed stands; tell whether it is."""
        log = self.log
        if log is None or self._is_known(message):
            return False
        if message.epoch != log.epoch:
            log.turn(message.epoch)
        log.arrived(message)
        return True

    def _is_known(self, message: StoredMessage) -> bool:
        log = self.log
        return log is not None and (order(message.epoch), message.seq) <= (order(log.epoch), log.delivered)


def _place_of(item: Item) -> tuple[int, Seq]:
    return order(item[0].epoch), item[0].seq


def order(epoch: Epoch) -> int:
    """Return an epoch as a number that rises; those that another kind of broker made come before all of Redis'."""
    return int(epoch) if epoch.isdigit() else 0
