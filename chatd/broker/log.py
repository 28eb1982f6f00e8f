"""One channel's log in the memory of a node: where it stands, and its newest messages."""

from collections import deque
from itertools import islice

from chatd.config import Namespace
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage

# A channel is reborn this far from its last stored seq, so that what readers remember of messages that are lost, such
# as the seq up to which they have read the history, lies before what is new.
REBIRTH_JUMP = 2**20


class Log:
    """What a node knows of a channel. `seq` is given out before it is stored; `delivered` after."""

    __slots__ = ("channel", "delivered", "epoch", "history", "recent", "saved", "seq", "used_at", "waiting")

    def __init__(self, channel: ChannelName, namespace: Namespace, epoch: Epoch, seq: Seq, recent_size: int) -> None:
        self.channel = channel
        self.history = namespace.history
        self.epoch = epoch
        self.seq = seq
        self.delivered = seq
        self.saved = seq  # of a `recent` channel: what is in the store
        self.recent: deque[StoredMessage] = deque(maxlen=recent_size)
        self.waiting = 0  # messages that are being stored: it must stay in memory
        self.used_at = 0  # Unix milliseconds

    def arrived(self, message: StoredMessage) -> None:
        """Take a message that is as durable as its namespace says, right before it is sent out."""
        self.delivered = message.seq
        self.recent.append(message)

    def find(self, sender: UserId, key: str) -> StoredMessage | None:
        """Return the message of this sender and key, if it is here."""
        for message in reversed(self.recent):
            if message.key == key and message.sender == sender:
                return message
        return None

    def revise(self, newer: StoredMessage) -> None:
        """Let a newer version of a message take its place, if it is here."""
        for index, message in enumerate(self.recent):
            if message.seq == newer.seq and message.epoch == newer.epoch:
                self.recent[index] = newer
                return

    def turn(self, epoch: Epoch) -> None:
        """Go on in another epoch, with the next message that arrives."""
        self.epoch = epoch
        self.recent.clear()

    @property
    def oldest(self) -> Seq:
        """The first seq that is here, 0 if nothing is. What was saved from it on is here too."""
        return self.recent[0].seq if self.recent else Seq(0)

    def after(self, seq: Seq) -> list[StoredMessage] | None:
        """Return the messages after a seq, up to the last delivered one; None if they are not all here."""
        missing = self.delivered - seq
        recent = self.recent
        if missing < 0 or missing > len(recent):
            return None
        messages = list(islice(recent, len(recent) - missing, None))
        # After a rebirth the seqs jump: what is here may not reach back to where the reader stands.
        return messages if not messages or messages[0].seq == seq + 1 else None

    def page(self, *, before: Seq | None, after: Seq | None, limit: int) -> list[StoredMessage]:
        """Return a page of what is here, in rising seq."""
        if after is not None:
            return list(islice((message for message in self.recent if message.seq > after), limit))
        older = [message for message in self.recent if before is None or message.seq < before]
        return older[-limit:]
