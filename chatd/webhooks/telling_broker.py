"""A broker that tells webhooks what is published through it: for one that delivers what other nodes placed, too."""

from collections.abc import Callable, Sequence

from chatd.broker import Broker, BrokerStatistics, Draft, Published, Recovery, Refused
from chatd.webhooks.telling import Telling
from protocol.names import ChannelName, Epoch, Seq
from storage.records import StoredMessage


class TellingBroker:
    """Implements `Broker` by another one. Each message is told once: by the node that published it.

    Messages of one channel that several nodes publish may be told in another order than that of their seqs.
    """

    def __init__(self, inner: Broker, telling: Telling) -> None:
        self._inner = inner
        self._telling = telling

    def publish_nowait(self, draft: Draft) -> StoredMessage:
        """Place one draft now, and tell it."""
        message = self._inner.publish_nowait(draft)
        self._telling.placed((message,))
        return message

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        """Place drafts, and tell those that are new."""
        answers = await self._inner.publish(drafts)
        self._telling.placed(
            [
                _message(draft, answer)
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
