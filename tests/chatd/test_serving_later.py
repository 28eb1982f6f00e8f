"""A message that is answered later holds up what its session says next, and no task waits for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from chatd.broker import Draft, Published, Refused
from chatd.config import NAMESPACES, Config
from protocol.codes import ErrorCode
from protocol.names import Epoch, Seq
from storage.records import Place
from tests.rig.node import Device, Rig, running_node
from tests.rig.redis import RedisServer

QUIET = msgspec.structs.replace(NAMESPACES["room"], presence="none", echo=True)
PLACED = Published(Place(Epoch("7"), Seq(5), 1000), duplicate=False)


class SlowBroker:
    """Places nothing at once, and what comes alone when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Draft, Callable[[Published | Refused], None]]] = []

    def publish_soon(self, draft: Draft, done: Callable[[Published | Refused], None]) -> bool:
        self.under_way.append((draft, done))
        return True

    async def came(self) -> Callable[[Published | Refused], None]:
        """Return what answers the message that is under way."""
        with trio.fail_after(5):
            while not self.under_way:
                await trio.lowlevel.checkpoint()
        return self.under_way.pop()[1]


@asynccontextmanager
async def slow_node(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Rig, Device, SlowBroker]]:
    """Run a node with a device that has written to room:a, whose next messages are answered later."""
    config = msgspec.structs.replace(Config(), namespaces={**Config().namespaces, "room": QUIET})
    async with running_node(folder, config) as rig:
        device = await rig.enter("alice")
        assert (await device.ask(**message("first")))["type"] == "sent"

        monkeypatch.setattr(rig.node.broker, "publish_at_once", lambda drafts: [])
        broker = SlowBroker()
        monkeypatch.setattr(rig.node.broker, "publish_soon", broker.publish_soon)
        yield rig, device, broker


def message(key: str) -> dict[str, object]:
    return {"type": "send", "channel": "room:a", "key": key, "data": {"text": key}}


async def test_what_comes_behind_waits_for_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with slow_node(tmp_path, monkeypatch) as (_, device, broker):
        [sent] = await device.say(message("a"))
        answer = await broker.came()
        [asked] = await device.say({"type": "ping"})
        await trio.testing.wait_all_tasks_blocked(0.01)
        answer(PLACED)
        answers = [await device.hear(), await device.hear()]
        assert [(one["id"], one["type"]) for one in answers] == [(sent, "sent"), (asked, "ok")]
        assert answers[0]["seq"] == 5


async def test_one_message_is_under_way_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with slow_node(tmp_path, monkeypatch) as (_, device, broker):
        for key in ("a", "b"):
            [sent] = await device.say(message(key))
            answer = await broker.came()
            assert broker.under_way == []
            answer(PLACED)
            assert (await device.hear())["id"] == sent


async def test_messages_that_come_together_are_not_answered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_node(tmp_path, monkeypatch) as (_, device, broker):
        await device.say(message("a"), message("b"))
        events = [await device.hear() for _ in range(2)]
        assert sorted(event["type"] for event in events) == ["sent", "sent"]
        assert broker.under_way == []


async def test_a_refusal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with slow_node(tmp_path, monkeypatch) as (_, device, broker):
        [sent] = await device.say(message("a"))
        (await broker.came())(Refused(ErrorCode.UNAVAILABLE, "not now", 1.0))
        told = await device.hear()
        assert (told["id"], told["code"], told["retry_after"]) == (sent, ErrorCode.UNAVAILABLE, 1.0)


async def test_who_hung_up_meanwhile_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with slow_node(tmp_path, monkeypatch) as (rig, device, broker):
        await device.say(message("a"))
        answer = await broker.came()
        device.leave()
        with trio.fail_after(5):
            await rig.node.hub.wait_empty()
        answer(PLACED)
        other = await rig.enter("bob")
        await other.silence()


@pytest.mark.system
async def test_a_lone_message_through_redis_is_told_and_answered(tmp_path: Path, redis_server: RedisServer) -> None:
    config = Config()
    config = msgspec.structs.replace(
        config,
        namespaces={**config.namespaces, "room": QUIET},
        broker=msgspec.structs.replace(config.broker, kind="redis"),
        redis=msgspec.structs.replace(config.redis, servers=(redis_server.address,)),
    )
    async with running_node(tmp_path, config) as rig:
        device = await rig.enter("alice")
        assert (await device.ask(type="subscribe", channel="room:a"))["type"] == "subscribed"
        for number in range(1, 6):
            [sent] = await device.say(message(f"k{number}"))
            heard = {event["type"]: event for event in [await device.hear(), await device.hear()]}
            assert (heard["sent"]["id"], heard["sent"]["seq"], heard["message"]["seq"]) == (sent, number, number)
