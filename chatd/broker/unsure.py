"""Messages whose commit failed with nobody knowing whether the store kept them."""

from collections.abc import Iterator

from chatd.broker import Draft
from chatd.broker.log import Log
from protocol.names import ChannelName
from storage.records import StoredMessage


class Unsure:
    """What a store that failed may have kept all the same, by channel, until the channel is opened again.

    A channel whose commit failed is not written to before the store said where it ends; so what is up to there is kept,
    and what is not never will be. As many as can wait for a store, at the most.
    """

    def __init__(self) -> None:
        self._messages: dict[ChannelName, list[tuple[StoredMessage, Draft]]] = {}

    def __iter__(self) -> Iterator[ChannelName]:
        return iter(list(self._messages))

    def add(self, message: StoredMessage, draft: Draft) -> None:
        """Note a message, in the order of the seqs."""
        self._messages.setdefault(message.channel, []).append((message, draft))

    def settle(self, log: Log) -> list[tuple[StoredMessage, Draft]]:
        """Forget a channel's messages, now that it is known where it ends; return those that the store kept."""
        found = self._messages.pop(log.channel, ())
        return [one for one in found if one[0].epoch == log.epoch and one[0].seq <= log.seq]
