"""The hub: who reads what, and turns of very large channels, which go out in slices with pauses between them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from protocol.codes import CloseCode
from protocol.frames import Opcode
from protocol.messages import Count
from protocol.names import ChannelName, UserId
from tests.rig.node import Device, Rig, changed, running_node

CHANNEL = ChannelName("event:a")


@pytest.fixture
async def sliced(tmp_path: Path) -> AsyncIterator[Rig]:
    """A node that takes a pause after every reader."""
    async with running_node(tmp_path, changed("broker", fanout_slice=1)) as rig:
        yield rig


async def readers(rig: Rig, count: int) -> list[Device]:
    """Connect devices of as many users, who read the channel."""
    devices = [await rig.enter(f"reader{number}") for number in range(count)]
    for device in devices:
        await device.ask(type="subscribe", channel=CHANNEL)
    return devices


async def deliver_in_part(rig: Rig) -> int:
    """Deliver an event and return in a pause of its turn; how many slices are left."""
    rig.node.hub.deliver(CHANNEL, Count(channel=CHANNEL, count=1))
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    left = len(rig.node.hub.channels[CHANNEL].slices)
    assert left > 1
    return left


async def test_who_is_closed_in_a_pause_gets_nothing_behind_its_close_frame(sliced: Rig) -> None:
    devices = await readers(sliced, 8)
    left = await deliver_in_part(sliced)
    for device in devices:
        device.session.close(CloseCode.DRAINING, "")
    await trio.testing.wait_all_tasks_blocked()
    sent = [await _raw_opcodes(device) for device in devices]
    assert sent == [[Opcode.TEXT, Opcode.CLOSE]] * (8 - left) + [[Opcode.CLOSE]] * left


async def _raw_opcodes(device: Device) -> list[int]:
    """Return the opcodes of the short frames that were sent, also of those behind a close frame."""
    data = await device.sock.recv(65536)
    opcodes = []
    while data:
        opcodes.append(data[0] & 0x0F)
        data = data[2 + data[1] :]
    return opcodes


async def test_who_unsubscribes_in_a_pause_gets_nothing_after_it(sliced: Rig) -> None:
    devices = await readers(sliced, 8)
    left = await deliver_in_part(sliced)
    for device in devices:
        sliced.node.hub.unsubscribe(device.session, CHANNEL)
    await trio.testing.wait_all_tasks_blocked()
    for number, device in enumerate(devices):
        if number < 8 - left:
            assert (await device.hear())["type"] == "count"
        await device.silence()
    assert CHANNEL not in sliced.node.hub.channels


async def test_the_others_get_everything_when_a_reader_is_lost_in_a_pause(sliced: Rig) -> None:
    devices = await readers(sliced, 8)
    await deliver_in_part(sliced)
    devices[-1].leave()
    devices[-2].session.lose()
    sliced.node.hub.deliver(CHANNEL, Count(channel=CHANNEL, count=2))
    for device in devices[:-2]:
        assert [(await device.hear())["count"] for _ in range(2)] == [1, 2]


async def test_a_session_closed_while_it_subscribes_is_not_kept(rig: Rig) -> None:
    device = await rig.enter("alice")
    device.session.close(CloseCode.REVOKED, "")
    rig.node.hub.subscribe(device.session, CHANNEL, rig.node.settings.namespaces["event"])
    assert CHANNEL not in rig.node.hub.channels
    assert rig.node.hub.statistics().subscriptions == 0


async def test_events_of_a_channel_that_nobody_reads_are_dropped(rig: Rig) -> None:
    rig.node.hub.deliver(CHANNEL, Count(channel=CHANNEL, count=1))
    rig.node.hub.deliver_to([UserId("nobody")], Count(channel=CHANNEL, count=1))
    device = (await readers(rig, 1))[0]
    await device.silence()


async def test_who_joins_gets_nothing_of_before_and_all_of_after(rig: Rig) -> None:
    [early] = await readers(rig, 1)
    late = await rig.enter("late")
    rig.node.hub.deliver(CHANNEL, Count(channel=CHANNEL, count=1))
    rig.node.hub.subscribe(late.session, CHANNEL, rig.node.settings.namespaces["event"])
    rig.node.hub.deliver(CHANNEL, Count(channel=CHANNEL, count=2))
    assert [(await early.hear())["count"] for _ in range(2)] == [1, 2]
    assert (await late.hear())["count"] == 2


async def test_statistics_count_what_is_there(rig: Rig) -> None:
    devices = [*(await readers(rig, 3)), await rig.enter("reader0", device="second"), rig.connect()]
    await trio.testing.wait_all_tasks_blocked()
    statistics = rig.node.hub.statistics()
    assert (statistics.connections, statistics.sessions, statistics.users) == (5, 4, 3)
    assert (statistics.channels, statistics.subscriptions, statistics.slow_sessions) == (1, 3, 0)
    for device in devices:
        device.leave()
    await rig.node.hub.wait_empty()
    statistics = rig.node.hub.statistics()
    assert (statistics.connections, statistics.sessions, statistics.users, statistics.channels) == (0, 0, 0, 0)
