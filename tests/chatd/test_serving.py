"""What the poller lets a session serve without its task is served as the task would: same answers, same order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from chatd.config import NAMESPACES, Config
from chatd.session import Session
from protocol.codec import JSON, MSGPACK, Codec
from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, client_frame
from tests.rig.node import MASK, Device, Rig, running_node

QUIET = msgspec.structs.replace(NAMESPACES["room"], presence="none", echo=False)


class Task:
    """Counts how often sessions had to wake their tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        take = Session._take

        async def counting(session: Session, handlers: Any, data: bytes) -> bool:
            self.reads += 1
            return await take(session, handlers, data)

        monkeypatch.setattr(Session, "_take", counting)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Return a count of the reads that sessions' tasks had to handle from now on."""
    return Task(monkeypatch)


@asynccontextmanager
async def writer(folder: Path, codec: Codec = JSON, **limits: float) -> AsyncIterator[tuple[Rig, Device]]:
    """Run a node with a device that has written to room:a, so that its next messages need no task."""
    config = Config()
    config = msgspec.structs.replace(
        config,
        namespaces={**config.namespaces, "room": QUIET},
        limits=msgspec.structs.replace(config.limits, **limits),
    )
    async with running_node(folder, config) as rig:
        device = await rig.enter("alice", codec=codec)
        assert (await device.ask(**message("first")))["type"] == "sent"
        yield rig, device


def message(key: str, channel: str = "room:a", **more: Any) -> dict[str, Any]:
    return {"type": "send", "channel": channel, "key": key, "data": {"text": key}, **more}


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_messages_wake_no_task(tmp_path: Path, task: Task, codec: Codec) -> None:
    async with writer(tmp_path, codec) as (_, device):
        before = task.reads
        assert (await device.ask(**message("a")))["seq"] == 2
        ids = await device.say(message("b"), message("c"))
        assert [(answer["id"], answer["seq"]) for answer in [await device.hear(), await device.hear()]] == [
            (ids[0], 3),
            (ids[1], 4),
        ]
        assert task.reads == before


async def test_what_has_to_wait_is_left_to_the_task_behind_what_was_served(tmp_path: Path, task: Task) -> None:
    async with writer(tmp_path) as (rig, device):
        await rig.register("alice", "bob")
        before = task.reads
        ids = await device.say(
            message("a"), {"type": "ping"}, message("b"), message("c", channel="dm:alice:bob"), message("d")
        )
        answers = [await device.hear() for _ in ids]
        assert [answer["id"] for answer in answers] == ids
        assert [answer["type"] for answer in answers] == ["sent", "ok", "sent", "sent", "sent"]
        assert [answers[index]["seq"] for index in (0, 2, 4)] == [2, 3, 4]
        assert task.reads == before + 1


async def test_a_resend_gets_its_first_answer_by_the_task(tmp_path: Path, task: Task) -> None:
    async with writer(tmp_path) as (_, device):
        first = await device.ask(**message("a"))
        again = await device.ask(**message("a"))
        assert (again["seq"], again["duplicate"]) == (first["seq"], True)


async def test_a_frame_in_two_parts_is_served_when_it_is_whole(tmp_path: Path, task: Task) -> None:
    async with writer(tmp_path) as (_, device):
        frame = device.frame({"id": 77, **message("a")})
        before = task.reads
        await device.write(frame[:10])
        await device.write(frame[10:])
        answer = await device.hear()
        assert (answer["id"], answer["seq"]) == (77, 2)
        assert task.reads == before


async def test_messages_over_the_rate_are_refused_and_the_others_are_not(tmp_path: Path) -> None:
    async with writer(tmp_path, commands_per_second=0.001, commands_burst=6) as (_, device):
        ids = await device.say(*(message(f"k{number}") for number in range(6)))
        answers = [await device.hear() for _ in ids]
        assert [answer["id"] for answer in answers] == ids
        kinds = [answer["type"] for answer in answers]
        assert kinds == ["sent"] * 4 + ["error"] * 2  # `connect` and the first message took two of six
        assert {answer["code"] for answer in answers[4:]} == {ErrorCode.RATE_LIMITED}


async def test_a_user_who_writes_too_much_is_told_so(tmp_path: Path) -> None:
    async with writer(tmp_path, messages_per_second=0.001, messages_burst=3) as (_, device):
        await device.say(*(message(f"k{number}") for number in range(3)))
        answers = [await device.hear() for _ in range(3)]
        assert [answer["type"] for answer in answers] == ["sent", "sent", "error"]


async def test_messages_before_a_broken_frame_are_served_and_then_the_session_is_closed(tmp_path: Path) -> None:
    async with writer(tmp_path) as (_, device):
        await device.write(device.frame({"id": 5, **message("a")}) + b"\xff\xff\xff\xff\xff\xff")
        assert (await device.hear())["seq"] == 2
        assert await device.close_code() == CloseCode.PROTOCOL_ERROR


async def test_bytes_that_are_no_command_get_their_answer(tmp_path: Path) -> None:
    async with writer(tmp_path) as (_, device):
        good = device.frame({"id": 5, **message("a")})
        await device.write(good + client_frame(Opcode.TEXT, b'{"type":"send","id":6}', MASK))
        answers = [await device.hear(), await device.hear()]
        assert [(answer["id"], answer["type"]) for answer in answers] == [(5, "sent"), (6, "error")]


async def test_a_client_that_hangs_up_right_behind_its_message_ends_its_session(tmp_path: Path) -> None:
    async with writer(tmp_path) as (rig, device):
        reader = await rig.enter("bob")
        await reader.ask(type="subscribe", channel="room:a")
        await device.say(message("last"))
        device.leave()
        assert (await reader.hear())["key"] == "last"
        while device.session.id in rig.node.hub.sessions:
            await reader.silence()


async def test_a_fault_while_serving_is_raised_in_the_sessions_own_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writer(tmp_path) as (_, device):
        take = Session._take
        raised = trio.Event()

        def broken(*_: object) -> int:
            raise RuntimeError("a fault")

        async def catching(session: Session, handlers: Any, data: bytes) -> bool:
            with pytest.raises(RuntimeError, match="a fault"):
                await take(session, handlers, data)
            raised.set()
            return False

        monkeypatch.setattr(device.session, "_send_at_once", broken)
        monkeypatch.setattr(Session, "_take", catching)
        await device.say(message("a"))
        with trio.fail_after(5):
            await raised.wait()
