"""The poller: whoever waits is woken once there is something, and never for nothing that was lost."""

import select
import socket

import trio
from trio.testing import wait_all_tasks_blocked

from chatd.poller import Poller, Watch
from tests.rig.links import running_poller
from tests.rig.node import Rig


async def test_what_arrived_before_the_wait_is_not_lost() -> None:
    async with running_poller() as poller:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watch = Watch(ours.fileno())
            poller.add(watch)
            theirs.send(b"x")
            await wait_all_tasks_blocked()
            with trio.fail_after(5):
                await poller.readable(watch)
            poller.remove(watch)


async def test_a_waiting_task_is_woken_by_bytes_and_by_the_end() -> None:
    async with running_poller() as poller:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watch = Watch(ours.fileno())
            poller.add(watch)
            for cause in (lambda: theirs.send(b"x"), theirs.close):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(poller.readable, watch)
                    await wait_all_tasks_blocked()
                    cause()
            assert watch.ended
            poller.remove(watch)


async def test_a_cancelled_wait_can_be_begun_again() -> None:
    async with running_poller() as poller:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watch = Watch(ours.fileno())
            poller.add(watch)
            with trio.move_on_after(0) as scope:
                await poller.readable(watch)
            assert scope.cancelled_caught
            theirs.send(b"x")
            with trio.fail_after(5):
                await poller.readable(watch)
            poller.remove(watch)


async def test_a_socket_that_takes_bytes_again_is_told_to_who_asked() -> None:
    async with running_poller() as poller:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            watch = Watch(ours.fileno())
            poller.add(watch)
            while select.select([], [ours], [], 0)[1]:
                ours.send(b"x" * 65536)
            told = trio.Event()
            watch.on_writable = told.set
            theirs.recv(1_000_000)
            with trio.fail_after(5):
                await told.wait()
            poller.remove(watch)


async def test_a_removed_socket_wakes_nobody_and_its_number_can_be_used_again() -> None:
    async with running_poller() as poller:
        for _ in range(3):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                watch = Watch(ours.fileno())
                poller.add(watch)
                theirs.send(b"x")
                poller.remove(watch)
                await wait_all_tasks_blocked()
                assert len(poller) == 0
                poller.remove(watch)


def test_a_poller_that_watches_nothing_is_empty() -> None:
    assert len(Poller()) == 0


async def test_a_fault_in_what_one_connection_does_when_it_is_writable_stays_there(rig: Rig) -> None:
    broken, other = await rig.enter("broken"), await rig.enter("other")

    def fail() -> None:
        raise RuntimeError("a fault")

    broken.session.link.on_writable = fail
    await broken.say({"type": "ping"})  # an event, at which the socket is writable as well
    assert await broken.close_code() == 1006
    await other.silence()


async def test_a_task_is_woken_only_for_what_its_connection_leaves_to_it() -> None:
    async with running_poller() as poller:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watch = Watch(ours.fileno())
            poller.add(watch)
            done = iter([True, True, False])
            calls = []
            woken = trio.Event()

            def serve() -> bool:
                calls.append(ours.recv(100))
                return next(done)

            async def wait() -> None:
                await poller.readable(watch)
                woken.set()

            watch.on_readable = serve
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                for number in range(3):
                    assert not woken.is_set()
                    theirs.send(b"%d" % number)
                    while len(calls) <= number:
                        await trio.lowlevel.checkpoint()
                with trio.fail_after(5):
                    await woken.wait()
            assert calls == [b"0", b"1", b"2"]
            poller.remove(watch)
