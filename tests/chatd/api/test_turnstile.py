"""HTTP is let into the turns of the scheduler a few at a time, in order."""

import trio
from trio.testing import wait_all_tasks_blocked

from chatd.api.turnstile import Turnstile


class Turns(trio.abc.Instrument):
    """Counts the turns of the scheduler."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        """Count one more."""
        self.count += 1


async def passed(turnstile: Turnstile, comers: int) -> list[tuple[int, int]]:
    """Let so many come at once; return in which turn each passed, and who it was."""
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    seen: list[tuple[int, int]] = []

    async def come(number: int) -> None:
        await turnstile.enter()
        seen.append((turns.count, number))

    async with trio.open_nursery() as nursery:
        for number in range(comers):
            nursery.start_soon(come, number)
    trio.lowlevel.remove_instrument(turns)
    return seen


async def test_only_so_many_pass_in_one_turn() -> None:
    turnstile = Turnstile(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turnstile.run)
        for _ in range(2):  # it opens again
            await wait_all_tasks_blocked()
            in_turn = [turn for turn, _ in await passed(turnstile, 9)]
            assert len(in_turn) == 9
            assert max(in_turn.count(turn) for turn in in_turn) == 2
        nursery.cancel_scope.cancel()


async def test_who_leaves_the_line_holds_up_nobody() -> None:
    turnstile = Turnstile(1)
    done = trio.Event()

    async def come() -> None:
        await turnstile.enter()
        done.set()

    await turnstile.enter()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0) as gone:
            await turnstile.enter()
        assert gone.cancelled_caught
        nursery.start_soon(come)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        nursery.start_soon(turnstile.run)
        with trio.fail_after(5):
            await done.wait()
        nursery.cancel_scope.cancel()
