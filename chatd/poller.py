"""One private epoll for all connections of a node, so that a wait for a socket costs no system call.

Theory of operation. trio arms its epoll anew for every wait, one system call each. Here every socket is registered
once, edge-triggered, for reading and writing; trio waits only for the epoll's own descriptor. An edge says "something
changed since you last ran into would-block": a reader must go on reading until a read would block or comes back
short (epoll(7)), and only then may it wait. What arrives between its last read and its wait sets `ready`, so no edge
is lost. A hang-up sets `ended` for good: from then on the reader goes on to the end of the stream.

A connection may have `on_readable`, which is called while its task waits: what needs no waiting is done there and then,
and the task is woken only for the rest. Waking one costs as much as a small message.

Writers do not wait as tasks: a connection whose socket refused bytes gets its `on_writable` called.
"""

import select
from collections.abc import Callable

import structlog
import trio
from trio.lowlevel import Abort, Task

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _ENDED

# Events taken at once. Each wakes a task that runs before the next ones are taken, so this bounds one turn.
_MAX_EVENTS = 1024


class Watch:
    """One socket's place in the poller; a connection derives from it. Owned by the connection's task."""

    __slots__ = ("_ready", "_task", "ended", "fd", "on_readable", "on_writable")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self.on_writable: Callable[[], None] | None = None
        self.on_readable: Callable[[], bool] | None = None
        """Reads and handles what came; returns whether that is done, and the task may go on waiting. Never raises."""
        self._ready = False
        self._task: Task | None = None

    def break_off(self) -> None:
        """End the connection: its owner finds that nothing comes any more."""
        self.on_writable = None
        self.ended = True


_log = structlog.get_logger("poller")


class Poller:
    """Wakes the tasks whose sockets became readable. `run` must be running."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watch: Watch) -> None:
        """Watch a socket from now on. If it is readable already, the first wait returns at once."""
        self._watches[watch.fd] = watch
        self._epoll.register(watch.fd, _EVENTS)

    def remove(self, watch: Watch) -> None:
        """Forget a socket, before it is closed."""
        if self._watches.pop(watch.fd, None) is not None:
            self._epoll.unregister(watch.fd)

    async def readable(self, watch: Watch) -> None:
        """Wait until the socket changed since it was last read to its end. One waiter at a time."""
        if watch._ready:
            watch._ready = False
            return
        watch._task = trio.lowlevel.current_task()

        def abort(_: object) -> Abort:
            watch._task = None
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """Deliver events until cancelled.

        While there are some, trio is not asked to wait for the epoll: that costs two system calls each time, to arm
        and to disarm it. The woken tasks have their turn, then the next events are taken.
        """
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            while self._take_events():
                await trio.lowlevel.checkpoint()

    def _take_events(self) -> bool:
        """Wake whoever something happened for; tell whether anything did."""
        watches = self._watches
        reschedule = trio.lowlevel.reschedule
        happened = self._epoll.poll(0, _MAX_EVENTS)
        for fd, events in happened:
            watch = watches.get(fd)
            if watch is None:
                continue
            if events & _READABLE:
                if events & _ENDED:
                    watch.ended = True
                task = watch._task
                if task is None:
                    watch._ready = True
                elif watch.on_readable is None or watch.ended or not watch.on_readable():
                    watch._task = None
                    reschedule(task)
            if watch.on_writable is not None and events & select.EPOLLOUT:
                try:
                    watch.on_writable()
                except Exception:
                    _log.exception("connection failed")
                    watch.break_off()
        return bool(happened)
