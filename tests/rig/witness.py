"""Writers and readers of brokers that remember what they were told, and the check of promises 1 to 4 against it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio
import trio.lowlevel

from chatd.broker import Broker, Draft, Published, Refused
from protocol.names import ChannelName, Seq
from storage import Store
from storage.records import Place, StoredMessage
from tests.rig.broker import Desk, draft

PAUSE_SECONDS = 0.02
PAGE = 500


@dataclass
class Witness:
    """What writers were acknowledged, in one channel."""

    channel: ChannelName
    acked: dict[tuple[str, str], Place] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    prepare: Callable[[Draft], Draft] = lambda wanted: wanted
    """What is done to a draft before it is published."""

    async def write(self, desks: Sequence[Desk], sender: str, until: trio.Event) -> None:
        """Write messages one by one, each again under its key on the next node until it is acknowledged."""
        number = 0
        while not until.is_set():
            tries = 0
            while True:
                desk = desks[(number + tries) % len(desks)]
                wanted = self.prepare(draft(f"{number}", self.channel, sender=sender, retry=tries > 0))
                [answer] = await desk.broker.publish([wanted])
                if isinstance(answer, Published):
                    self.acked[sender, f"{number}"] = answer.place
                    break
                assert isinstance(answer, Refused)
                self.refused[answer.code] += 1
                tries += 1
                await trio.sleep(PAUSE_SECONDS)
            number += 1
            await trio.lowlevel.checkpoint()

    async def history(self, source: Store | Broker) -> list[StoredMessage]:
        """Return all that is stored, or all that a broker shows."""
        messages: list[StoredMessage] = []
        after = Seq(0)
        while page := await source.history(self.channel, before=None, after=after, limit=PAGE):
            messages += page
            after = page[-1].seq
        return messages

    async def check(self, source: Store | Broker, *desks: Desk) -> None:
        """Hold what is in the history and what every reader got against what was acknowledged."""
        stored = await self.history(source)
        places: dict[tuple[str, str], Place] = {(row.sender, row.key): row.place for row in stored}
        assert len(places) == len(stored), "a message is stored twice"
        assert {key: places.get(key) for key in self.acked} == self.acked, (
            "an acknowledged message is not as it was told"
        )
        assert [message.seq for message in stored] == sorted(message.seq for message in stored)
        for desk in desks:
            got = [message for message in desk.delivered if message.channel == self.channel]
            assert [message.place for message in got] == [message.place for message in stored]

    async def caught_up(self, source: Store | Broker, *desks: Desk) -> None:
        """Wait until every reader has the newest message of the history."""
        with trio.fail_after(20):
            for desk in desks:
                while not await self._has_newest(source, desk):  # noqa: ASYNC110
                    await trio.sleep(PAUSE_SECONDS)

    async def _has_newest(self, source: Store | Broker, desk: Desk) -> bool:
        newest = await source.history(self.channel, before=None, after=None, limit=1)
        return not newest or newest[0].place in {message.place for message in desk.delivered[-200:]}
