"""A broker whose publishes are watched: for one that also delivers what other nodes placed.

Who wants every message once in all of a deployment (webhooks, pushes) cannot look at what a node delivers there: a
message is delivered on many nodes. It is published through one of them.
"""

from collections.abc import Callable, Sequence

from chatd.broker import Broker, BrokerStatistics, Deliver, Draft, Published, Recovery, Refused
from protocol.names import ChannelName, Epoch, Seq
from storage.records import StoredMessage


class WatchedBroker:
    """Implements `Broker` by another one, and gives `watch` each new message with its draft when it has its place.

    Messages of one channel that are published through several nodes, or at the same time, may be given in another
    order than that of their seqs. A publish that is cancelled is not watched.
    """

    def __init__(self, inner: Broker, watch: Deliver) -> None:
        self._inner = inner
        self._watch = watch

    def publish_nowait(self, draft: Draft) -> StoredMessage:
        """Place one draft now, and show it."""
        message = self._inner.publish_nowait(draft)
        self._watch(((message, draft),))
        return message

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        """Place drafts, and show those that are new."""
        answers = await self._inner.publish(drafts)
        self._watch(
            [
                (_message(draft, answer), draft)
                for draft, answer in zip(drafts, answers, strict=True)
                if isinstance(answer, Published) and not answer.duplicate
            ]
        )
        return answers

    async def recover(
        self, channel: ChannelName, since: tuple[Epoch, Seq] | None, join: Callable[[], None]
    ) -> Recovery:
        """Pass it on."""
        return await self._inner.recover(channel, since, join)

    async def history(
        self, channel: ChannelName, *, before: Seq | None, after: Seq | None, limit: int
    ) -> list[StoredMessage]:
        """Pass it on."""
        return await self._inner.history(channel, before=before, after=after, limit=limit)

    def statistics(self) -> BrokerStatistics:
        """Pass it on."""
        return self._inner.statistics()


def _message(draft: Draft, published: Published) -> StoredMessage:
    """Return a draft as it was stored."""
    place = published.place
    return StoredMessage(
        channel=draft.channel,
        epoch=place.epoch,
        seq=place.seq,
        sender=draft.sender,
        key=draft.key,
        at=place.at,
        body=draft.body,
        kind=draft.kind,
    )
