"""What is published through a watched broker is shown once, with its place."""

from collections.abc import Sequence
from typing import cast

import pytest
import trio

from chatd.broker import Broker, Draft, Published, Refused, Routed
from chatd.broker.watched import WatchedBroker
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import Place, StoredMessage

ROOM = ChannelName("room:one")


class ScriptedBroker:
    """Answers publishes as a test says."""

    def __init__(self, *answers: Published | Refused) -> None:
        self._answers = list(answers)

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        await trio.lowlevel.checkpoint()
        return self._answers

    def publish_nowait(self, draft: Draft) -> StoredMessage:
        raise trio.WouldBlock


def draft(key: str) -> Draft:
    return Draft(channel=ROOM, sender=UserId("alice"), key=key, body=json_body({"key": key}), kind="edited")


def published(seq: int, *, duplicate: bool = False) -> Published:
    return Published(Place(Epoch("e"), Seq(seq), 1000 + seq), duplicate)


async def test_new_messages_are_shown_and_repeated_and_refused_ones_are_not() -> None:
    shown: list[tuple[StoredMessage, Routed]] = []
    answers = (published(1), Refused(ErrorCode.UNAVAILABLE, "no"), published(7, duplicate=True), published(2))
    broker = WatchedBroker(cast(Broker, ScriptedBroker(*answers)), shown.extend)
    drafts = [draft(key) for key in "abcd"]
    assert await broker.publish(drafts) == list(answers)
    assert [wanted for _, wanted in shown] == [drafts[0], drafts[3]]
    first, _ = shown[0]
    assert first == StoredMessage(
        channel=ROOM,
        epoch=Epoch("e"),
        seq=Seq(1),
        sender=UserId("alice"),
        key="a",
        at=1001,
        body=json_body({"key": "a"}),
        kind="edited",
    )


async def test_what_is_not_placed_now_is_not_shown() -> None:
    shown: list[tuple[StoredMessage, Routed]] = []
    broker = WatchedBroker(cast(Broker, ScriptedBroker()), shown.extend)
    with pytest.raises(trio.WouldBlock):
        broker.publish_nowait(draft("a"))
    assert shown == []
