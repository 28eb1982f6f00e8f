"""A commit wakes its senders once the store has answered, and holds nothing longer than that."""

import pytest
import trio

from chatd.broker import Published, Refused
from chatd.broker.commit import Commit, Placed
from chatd.broker.log import Log
from chatd.config import NAMESPACES
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq
from storage import StoreBusy, StoreUnavailable
from tests.fakes.held_store import stored
from tests.rig.broker import draft

MESSAGE = stored("track:car", 1)


def commit_of_one(done: list[int] | None = None) -> Commit:
    """Make a commit of one message, which writes down how many messages it had when it was done."""
    commit = Commit(lambda it: done.append(len(it.items)) if done is not None else None)
    log = Log(ChannelName("track:car"), NAMESPACES["track"], Epoch("old"), Seq(0), 10)
    commit.items.append((log, MESSAGE, draft("k")))
    return commit


def code(placed: Placed) -> ErrorCode:
    answer = placed.answer()
    assert isinstance(answer, Refused)
    return answer.code


async def test_a_waiting_sender_wakes_when_the_store_has_answered() -> None:
    commit = commit_of_one()
    placed = Placed(MESSAGE.place, commit, False)
    woken: list[object] = []

    async def wait() -> None:
        await commit.wait()
        woken.append(placed.answer())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not woken
        assert code(placed) is ErrorCode.TIMEOUT
        commit.done(None)
    assert woken == [Published(MESSAGE.place)] * 2


async def test_who_comes_later_does_not_wait() -> None:
    commit = commit_of_one()
    commit.done(None)
    await commit.wait()
    assert Placed(MESSAGE.place, commit, True).answer() == Published(MESSAGE.place, duplicate=True)


async def test_a_failure_refuses_everybody_for_a_while() -> None:
    for refused in (commit_of_one(), commit_of_one()):
        refused.done(StoreUnavailable("the disk is full"))
        await refused.wait()
        assert code(Placed(MESSAGE.place, refused, True)) is ErrorCode.UNAVAILABLE
    busy = commit_of_one()
    busy.refuse(StoreBusy("too much waits"))
    await busy.wait()
    answer = Placed(MESSAGE.place, busy, False).answer()
    assert isinstance(answer, Refused)
    assert answer.retry_after is not None


@pytest.mark.parametrize("error", [None, StoreUnavailable("no")])
def test_a_finished_commit_lets_go_of_its_messages(error: Exception | None) -> None:
    # The table of keys holds the commits of the last half a million messages.
    done: list[int] = []
    commit = commit_of_one(done)
    commit.done(error)
    assert (done, commit.items) == ([1], [])
    refused = commit_of_one()
    refused.refuse(StoreBusy("too much waits"))
    assert refused.items == []


async def test_a_fault_while_delivering_leaves_no_sender_waiting() -> None:
    def fail(_: Commit) -> None:
        raise RuntimeError("a fault in who delivers")

    commit = Commit(fail)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit.wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            commit.done(None)
    assert Placed(MESSAGE.place, commit, False).answer() == Published(MESSAGE.place)
