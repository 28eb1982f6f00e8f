"""The hub when sessions end in the middle of what it does with them."""

from pathlib import Path

import msgspec
import trio.testing

from chatd.config import Config
from protocol.codes import CloseCode
from protocol.frames import Opcode, client_frame
from protocol.names import ChannelName
from tests.rig.node import MASK, Rig, changed, running_node


async def test_a_session_that_was_closed_joins_no_channel(rig: Rig) -> None:
    device = await rig.enter("alice")
    hub, session = rig.node.hub, device.session
    session.close(CloseCode.REVOKED, "in the middle of a subscribe")
    hub.subscribe(session, ChannelName("room:a"), rig.node.settings.namespaces["room"])
    assert hub.statistics().subscriptions == 0
    assert not hub.channels


async def test_a_session_cut_off_in_a_delivery_takes_it_from_no_other_of_its_user(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(Config().limits, outbox_bytes=20_000, commands_burst=10_000, messages_burst=10_000)
    async with running_node(tmp_path, msgspec.structs.replace(Config(), limits=limits)) as rig:
        await rig.register("alice", "bob")
        slow = await rig.enter("bob", device="slow", send_buffer=2048)
        others = [await rig.enter("bob", device=f"device{number}") for number in range(3)]
        alice = await rig.enter("alice")
        for number in range(40):
            send = {"type": "send", "channel": "dm:alice:bob", "key": f"k{number}", "data": {"text": "x" * 1000}}
            await alice.ask(**send)
        assert slow.session.close_code == CloseCode.SLOW
        for device in others:
            assert [(await device.hear())["seq"] for _ in range(40)] == list(range(1, 41))


async def test_a_flood_of_pings_or_of_unknown_commands_is_ended(tmp_path: Path) -> None:
    config = changed("limits", commands_per_second=0.01, commands_burst=3, rate_grace=5)
    async with running_node(tmp_path, config) as rig:
        for frame in (client_frame(Opcode.PING, b"", MASK), client_frame(Opcode.TEXT, b'{"type":"no","id":1}', MASK)):
            device = await rig.enter("alice")
            for _ in range(10):
                await device.write(frame)
                await device.next_frame()
                if device.session.close_code is not None:
                    break
            assert device.session.close_code == CloseCode.TOO_FAST


async def test_a_ping_behind_our_close_frame_is_not_answered(rig: Rig) -> None:
    device = await rig.enter("alice")
    device.session.close(CloseCode.REVOKED, "go")
    assert (await device.next_frame())[0] == Opcode.CLOSE
    await device.write(client_frame(Opcode.PING, b"still here", MASK))
    await trio.testing.wait_all_tasks_blocked()
    await device.write(client_frame(Opcode.CLOSE, b"", MASK))
    assert await device.next_frame() == (Opcode.CLOSE, b"eof")
