"""Draining: everybody is told to reconnect within the window, and whoever stays beyond it is let go."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from chatd.drain import drain_sessions
from protocol.codes import CloseCode
from tests.rig.node import Rig, changed, running_node

WINDOW_SECONDS = 5.0
CLOSE_SECONDS = 3.0


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_node(tmp_path, changed("websocket", close_seconds=CLOSE_SECONDS)) as running:
        yield running


async def _drain(rig: Rig, window: float = WINDOW_SECONDS) -> float:
    """Drain; return how long it took."""
    chances = (number / 10 for number in count())
    begun = trio.current_time()
    await drain_sessions(rig.node.hub, window, lambda: next(chances))
    return trio.current_time() - begun


async def test_a_node_without_sessions_is_done_at_once(rig: Rig, autojump_clock: MockClock) -> None:
    assert await _drain(rig) == 0.0


async def test_clients_are_told_moments_of_the_window(rig: Rig) -> None:
    devices = [await rig.enter(f"user{number}") for number in range(4)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, rig)
        told = [await device.hear() for device in devices]
        for device in devices:
            device.leave()
    assert [event["type"] for event in told] == ["reconnect"] * 4
    assert sorted(event["after_seconds"] for event in told) == [0.0, 0.5, 1.0, 1.5]


async def test_who_stays_is_let_go_when_the_window_is_over(rig: Rig, autojump_clock: MockClock) -> None:
    device = await rig.enter("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, rig)
        assert (await device.hear())["type"] == "reconnect"
        begun = trio.current_time()
        assert await device.close_code() == CloseCode.DRAINING
        assert trio.current_time() - begun == pytest.approx(WINDOW_SECONDS)
        device.leave()


async def test_who_comes_during_the_window_is_let_go_with_the_others(rig: Rig, autojump_clock: MockClock) -> None:
    first = await rig.enter("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, rig)
        assert (await first.hear())["type"] == "reconnect"
        late = await rig.enter("bob")
        for device in (first, late):
            assert await device.close_code() == CloseCode.DRAINING
            device.leave()


async def test_without_a_window_nobody_is_told_to_wait(rig: Rig) -> None:
    device = await rig.enter("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, rig, 0.0)
        assert await device.close_code() == CloseCode.DRAINING
        device.leave()


async def test_who_does_not_answer_is_not_waited_for_long(rig: Rig, autojump_clock: MockClock) -> None:
    await rig.enter("alice")
    await wait_all_tasks_blocked()
    took = await _drain(rig)
    assert took <= WINDOW_SECONDS + CLOSE_SECONDS
