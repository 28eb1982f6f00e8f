"""Sending out: subscribed and member channels, several devices, slow readers, conflation, order."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from chatd.config import NAMESPACES, Config
from chatd.keepalive import PING_FRAME
from protocol.codec import JSON, MSGPACK
from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, client_frame
from protocol.messages import PresenceChanged
from protocol.names import ChannelName, UserId
from tests.rig.node import MASK, Device, Rig, changed, running_node


def send(channel: str, key: str, **data: Any) -> dict[str, Any]:
    """Make a `send` command."""
    return {"type": "send", "channel": channel, "key": key, "data": data}


def quiet_rooms(**sections: Any) -> Config:
    """Return a configuration whose rooms do not tell who is there, so that only messages come."""
    rooms = msgspec.structs.replace(NAMESPACES["room"], presence="none")
    return msgspec.structs.replace(Config(), namespaces={**NAMESPACES, "room": rooms}, **sections)


@pytest.fixture
def config() -> Config:
    """Return the configuration of most tests here."""
    return quiet_rooms()


async def enter_room(rig: Rig, user: str, **options: Any) -> Device:
    """Connect a device and subscribe to room:a."""
    device = await rig.enter(user, **options)
    answer = await device.ask(type="subscribe", channel="room:a")
    assert answer["type"] == "subscribed"
    return device


async def test_readers_of_every_codec_and_compression_get_the_same_message(tmp_path: Path, config: Config) -> None:
    async with running_node(tmp_path, config) as rig:
        readers = [
            await enter_room(rig, "r1"),
            await enter_room(rig, "r2", codec=MSGPACK),
        ]
        writer = await rig.enter("alice")
        data = {"text": "hé " * 100, "n": [1, 2.5, None, True]}
        answer = await writer.ask(**send("room:a", "k", **data))
        for reader in readers:
            event = await reader.hear()
            assert event == {
                "type": "message",
                "channel": "room:a",
                "epoch": answer["epoch"],
                "seq": 1,
                "from": "alice",
                "key": "k",
                "at": answer["at"],
                "data": data,
            }


async def test_a_room_echoes_to_the_sender_and_a_group_does_not(tmp_path: Path, config: Config) -> None:
    async with running_node(tmp_path, config) as rig:
        await rig.register("alice", "bob")
        alice = await enter_room(rig, "alice")
        await alice.say(send("room:a", "k"))
        heard = [await alice.hear(), await alice.hear()]
        assert {event["type"] for event in heard} == {"message", "sent"}
        await alice.ask(**send("dm:alice:bob", "k2"))
        await alice.silence()


async def test_a_senders_other_devices_see_its_messages(rig: Rig) -> None:
    await rig.register("alice", "bob")
    phone, desk = await rig.enter("alice", device="phone"), await rig.enter("alice", device="desk")
    bob = await rig.enter("bob")
    await phone.ask(**send("dm:alice:bob", "k", text="hi"))
    for device in (desk, bob):
        assert (await device.hear())["data"] == {"text": "hi"}
    await phone.silence()


async def test_messages_come_in_order_however_they_were_sent(tmp_path: Path, config: Config) -> None:
    async with running_node(tmp_path, config) as rig:
        reader = await enter_room(rig, "reader")
        writers = [await rig.enter(f"writer{number}") for number in range(5)]
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(_send_many, writer, 10)
        assert [(await reader.hear())["seq"] for _ in range(50)] == list(range(1, 51))


async def _send_many(writer: Device, count: int) -> None:
    await writer.say(*(send("room:a", str(number)) for number in range(count)))
    for _ in range(count):
        assert (await writer.hear())["type"] == "sent"


async def test_the_same_key_is_stored_once(rig: Rig) -> None:
    await rig.register("alice", "bob")
    alice, bob = await rig.enter("alice"), await rig.enter("bob")
    first = await alice.ask(**send("dm:alice:bob", "k", n=1))
    again = await alice.ask(**send("dm:alice:bob", "k", n=2), retry=True)
    assert again == {**first, "id": again["id"], "duplicate": True}
    assert (await bob.hear())["data"] == {"n": 1}
    await bob.silence()
    assert (await alice.ask(**send("room:a", "k")))["code"] == ErrorCode.KEY_REUSED


async def test_who_unsubscribes_gets_no_more(tmp_path: Path, config: Config) -> None:
    async with running_node(tmp_path, config) as rig:
        reader, writer = await enter_room(rig, "reader"), await rig.enter("writer")
        assert (await reader.ask(type="subscribe", channel="room:a"))["code"] == ErrorCode.ALREADY_SUBSCRIBED
        assert (await reader.ask(type="unsubscribe", channel="room:a"))["type"] == "ok"
        assert (await reader.ask(type="unsubscribe", channel="room:a"))["code"] == ErrorCode.NOT_SUBSCRIBED
        await writer.ask(**send("room:a", "k"))
        await reader.silence()


async def test_subscriptions_are_bounded(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", subscriptions=2)) as rig:
        device = await rig.enter("alice")
        for number in range(2):
            assert (await device.ask(type="subscribe", channel=f"event:{number}"))["type"] == "subscribed"
        answer = await device.ask(type="subscribe", channel="event:2")
        assert answer["code"] == ErrorCode.TOO_MANY_SUBSCRIPTIONS


async def test_a_reader_that_never_reads_is_cut_off_and_the_others_get_everything(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(Config().limits, outbox_bytes=20_000, commands_burst=10_000, messages_burst=10_000)
    async with running_node(tmp_path, quiet_rooms(limits=limits)) as rig:
        slow = await enter_room(rig, "slow", send_buffer=2048)
        reader, writer = await enter_room(rig, "reader"), await rig.enter("writer")
        for number in range(40):
            await writer.ask(**send("room:a", str(number), text="x" * 1000))
        assert [(await reader.hear())["seq"] for _ in range(40)] == list(range(1, 41))
        assert rig.node.counters.drops["slow"] == 1
        # What it had been sent before comes whole and in order, then the close frame.
        assert await slow.close_code() == CloseCode.SLOW
        await writer.silence()


async def test_what_a_full_socket_refused_comes_later_in_order(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(Config().limits, commands_burst=10_000, messages_burst=10_000)
    async with running_node(tmp_path, quiet_rooms(limits=limits)) as rig:
        slow, writer = await enter_room(rig, "slow", send_buffer=2048), await rig.enter("writer")
        for number in range(60):
            await writer.ask(**send("room:a", str(number), text="x" * 1000))
        assert slow.session.outbox_bytes > 0
        assert [(await slow.hear())["seq"] for _ in range(60)] == list(range(1, 61))
        await slow.silence()
        assert slow.session.outbox_bytes == 0
        assert rig.node.hub.statistics().slow_sessions == 0


async def test_a_session_that_reads_nothing_for_long_is_ended(tmp_path: Path) -> None:
    websocket = msgspec.structs.replace(Config().websocket, ping_seconds=0.1, stall_seconds=0.05)
    limits = msgspec.structs.replace(Config().limits, commands_burst=10_000, messages_burst=10_000)
    async with running_node(tmp_path, quiet_rooms(limits=limits, websocket=websocket)) as rig:
        slow, writer = await enter_room(rig, "slow", send_buffer=2048), await rig.enter("writer")
        session = slow.session
        await writer.say(*(send("room:a", str(number), text="x" * 1000) for number in range(40)))
        with trio.fail_after(5):
            while session.is_open:
                session.heard = True  # it sends, but does not read
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert session.close_code == CloseCode.SLOW


async def test_of_a_conflated_channel_only_the_newest_waits(tmp_path: Path) -> None:
    async with running_node(tmp_path, quiet_rooms()) as rig:
        device = await rig.enter("viewer", send_buffer=2048)
        name = ChannelName("presence:car")
        await device.ask(type="subscribe", channel=name)
        filler = "y" * 200
        for number in range(500):
            event = PresenceChanged(channel=name, user=UserId("car"), state=f"{number}{filler}")
            rig.node.hub.deliver(name, event)
            await trio.testing.wait_all_tasks_blocked()
        assert device.session.outbox_bytes < 100_000
        states = [(await device.hear())["state"].removesuffix(filler)]
        while states[-1] != "499":
            states.append((await device.hear())["state"].removesuffix(filler))
        assert states == sorted(states, key=int)
        assert len(states) < 400
        assert rig.node.counters.drops["conflated"] == 500 - len(states)


async def test_a_large_room_gets_its_turn_in_slices_and_joiners_miss_and_repeat_nothing(tmp_path: Path) -> None:
    broker = msgspec.structs.replace(Config().broker, fanout_slice=2)
    async with running_node(tmp_path, quiet_rooms(broker=broker)) as rig:
        readers = [await enter_room(rig, f"reader{number}") for number in range(9)]
        writer, late = await rig.enter("writer"), await rig.enter("late")
        joined: dict[str, Any] = {}

        async def join() -> None:
            joined.update(await late.ask(type="subscribe", channel="room:a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_many, writer, 20)
            nursery.start_soon(join)
        for reader in readers:
            assert [(await reader.hear())["seq"] for _ in range(20)] == list(range(1, 21))
        rest = [(await late.hear())["seq"] for _ in range(20 - joined["seq"])]
        assert rest == list(range(joined["seq"] + 1, 21))
        await late.silence()


async def test_one_turn_of_many_answers_is_one_write(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.say(*({"type": "ping"} for _ in range(20)))
    await device.hear()
    # All answers came with the first one: nothing more has to be read from the socket for the others.
    assert len(device._messages) == 19


async def test_json_and_msgpack_sessions_of_one_user_share_a_direct_chat(rig: Rig) -> None:
    await rig.register("alice", "bob")
    alice = await rig.enter("alice", codec=MSGPACK)
    bob = await rig.enter("bob", codec=JSON)
    await alice.ask(**send("dm:alice:bob", "k", raw=b"\x00\xff", f=1.5))
    assert (await bob.hear())["data"] == {"raw": "AP8=", "f": 1.5}
    page = await bob.ask(type="history", channel="dm:alice:bob")
    assert page["messages"][0]["data"] == {"raw": "AP8=", "f": 1.5}
    page = await alice.ask(type="history", channel="dm:alice:bob")
    assert page["messages"][0]["data"] == {"raw": b"\x00\xff", "f": 1.5}


async def test_a_ping_that_the_socket_refuses_waits_like_everything_else(tmp_path: Path) -> None:
    websocket = msgspec.structs.replace(Config().websocket, ping_seconds=0.1)
    async with running_node(tmp_path, quiet_rooms(websocket=websocket)) as rig:
        full, other = await rig.enter("full", send_buffer=2048), await rig.enter("other")
        with contextlib.suppress(BlockingIOError):
            while True:  # the session does not know yet that its socket takes nothing any more
                full.session.link.send(PING_FRAME * 100)
        for _ in range(2):
            assert await other.next_frame() == (Opcode.PING, b"")
            await other.write(client_frame(Opcode.PONG, b"", MASK))
        await other.silence()


async def test_a_client_gets_all_it_asked_for_however_slowly_it_reads(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(Config().limits, outbox_bytes=20_000, commands_burst=10_000, messages_burst=10_000)
    async with running_node(tmp_path, quiet_rooms(limits=limits)) as rig:
        writer, slow = await rig.enter("writer"), await rig.enter("slow", send_buffer=2048)
        for number in range(50):
            await writer.ask(**send("room:a", str(number), text="x" * 1000))
        ids = await slow.say(*({"type": "history", "channel": "room:a"} for _ in range(20)))
        await trio.testing.wait_all_tasks_blocked()
        # It is not read from any further while its answers wait, so they stay few.
        assert 0 < slow.session.outbox_bytes < 200_000
        answers = [await slow.hear() for _ in ids]
        assert [answer["id"] for answer in answers] == ids
        assert all(len(answer["messages"]) == 50 for answer in answers)
        await slow.silence()


async def test_a_thing_that_moves_does_not_get_its_own_position_back(rig: Rig) -> None:
    car, viewer = await rig.enter("car"), await rig.enter("viewer")
    for device in (car, viewer):
        await device.ask(type="subscribe", channel="track:car")
    await car.ask(**send("track:car", "k", lat=1))
    assert (await viewer.hear())["data"] == {"lat": 1}
    await car.silence()


async def test_a_sender_has_its_answer_before_a_crowd_has_the_message(tmp_path: Path) -> None:
    async with running_node(tmp_path, quiet_rooms()) as rig:
        readers = [await enter_room(rig, f"reader{number}") for number in range(40)]
        writer = await enter_room(rig, "writer")
        await writer.say(send("room:a", "k"))
        assert [(await writer.hear())["type"] for _ in range(2)] == ["sent", "message"]
        for reader in readers:
            assert (await reader.hear())["seq"] == 1
