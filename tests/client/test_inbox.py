"""The inbox: bounded, fair to who takes from it, and not emptied by a cancelled taker."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from client.inbox import HARD_FACTOR, Inbox


async def test_what_was_put_comes_out_in_order_before_the_end() -> None:
    inbox = Inbox[int](10)
    inbox.put(1)
    inbox.put(2)
    inbox.close(LookupError("over"))
    assert [await inbox.get(), await inbox.get()] == [1, 2]
    for _ in range(2):
        with pytest.raises(LookupError, match="over"):
            await inbox.get()


async def test_a_taker_who_is_cancelled_loses_nothing(nursery: trio.Nursery) -> None:
    inbox = Inbox[int](10)
    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_when_waiting, scope)
        await inbox.get()
    inbox.put(1)
    assert await inbox.get() == 1


async def _cancel_when_waiting(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_there_is_more_room_while_a_command_waits_for_its_answer() -> None:
    inbox = Inbox[int](2)
    for number in range(2):
        inbox.put(number)
    assert not inbox.has_room(is_awaited=False)
    assert inbox.has_room(is_awaited=True)
    for number in range(2 * HARD_FACTOR):
        inbox.put(number)
    assert not inbox.has_room(is_awaited=True)
