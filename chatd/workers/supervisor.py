"""Keeps so many workers running, behind one port.

Signals: SIGTERM and Ctrl-C let all workers leave, and a second one ends them at once. SIGHUP replaces them one by one:
the successor serves before the old one is told to leave, with the configuration and the program that are there then.
A configuration that cannot be used replaces nobody.
"""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from chatd.cluster.incarnation import Incarnation
from chatd.config import Config, ConfigError
from chatd.ports import open_port
from chatd.workers.slot import Slot, Worker, ready_or_ended

# A worker that does not serve after this is not waited for.
START_SECONDS = 60.0
# What a worker gets beyond server.shutdown_seconds before it is killed.
_SPARE_SECONDS = 10.0
_NAME_LENGTH = 28  # of the 32 that a node's name may have; the rest is for the worker's number

_log = structlog.get_logger("workers")


class WorkerFailed(Exception):
    """A worker ended before it served for the first time; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker ended with {code} before it served")
        self.code = code


def check(config: Config, workers: int) -> None:
    """Return if this configuration can have so many workers.

    Raises:
        ConfigError: It cannot: they would not know of each other's messages.
    """
    if workers > 1 and config.broker.kind != "redis":
        raise ConfigError('broker.kind: several workers need "redis", through which they speak to each other')
    if workers > 1 and config.store.kind == "sqlite":
        raise ConfigError("store.kind: several workers need a store that they can share; a SQLite file has one process")


class Supervisor:
    """Runs workers until it is told to end."""

    def __init__(self, config: Config, path: Path | None, workers: int, load_config: Callable[[], Config]) -> None:
        self._config = config
        self._load_config = load_config
        self._port: int | None = None
        name = Incarnation(config.cluster.node).name[:_NAME_LENGTH]
        self.slots = [
            Slot(number, {"CHATD_CLUSTER__NODE": f"{name}-{number}"}, path, self._open_port)
            for number in range(1, workers + 1)
        ]
        self._running: set[Worker] = set()  # those who serve, and those who leave
        self._nursery: trio.Nursery | None = None
        self._is_leaving = False
        self._serves = False  # all workers served once
        self._failure: WorkerFailed | None = None
        self._wants_replacing = trio.Event()

    async def run(self, on_ready: Callable[[list[tuple[str, int]]], None]) -> None:
        """Start all workers, and keep them; `on_ready` is called once with the addresses of the port.

        Raises:
            OSError: The port cannot be opened, or no process can be started.
            WorkerFailed: The first worker of some slot ended before it served.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._obey_signals)
                [addresses, *_] = [slot.open() for slot in self.slots]
                workers = [self._start(slot) for slot in self.slots]
                for slot, worker in zip(self.slots, workers, strict=True):
                    slot.worker = worker
                for worker in workers:
                    await ready_or_ended(worker)
                if not self._is_leaving:
                    self._serves = True
                    on_ready(addresses)
                    _log.info("workers serve", workers=len(self.slots), pids=self._pids())
                    nursery.start_soon(self._replace_loop)
        finally:
            for slot in self.slots:
                slot.close()
        if self._failure is not None:
            raise self._failure

    def _open_port(self) -> list[socket.socket]:
        sockets = open_port(self._config.server, self._port, shared=True)
        self._port = sockets[0].getsockname()[1]
        return sockets

    def _start(self, slot: Slot) -> Worker:
        assert self._nursery is not None
        worker = slot.start(self._nursery, self._on_ended)
        self._running.add(worker)
        return worker

    # Workers that end.

    def _on_ended(self, slot: Slot, worker: Worker) -> None:
        """Start it again, unless it was to end."""
        self._running.discard(worker)
        if self._is_leaving:
            self._end_if_all_ended()
            return
        if slot.worker is not worker or self._nursery is None:
            return  # it was replaced
        slot.worker = None
        code = worker.process.returncode or 0
        if not self._serves:
            self._failure = WorkerFailed(code if code > 0 else 1)
            self._leave(signal.SIGTERM)
            return
        lived = trio.current_time() - worker.started
        pause = slot.failed(lived)
        _log.error(
            "worker ended",
            worker=slot.number,
            pid=worker.pid,
            code=code,
            lived_seconds=round(lived, 1),
            restarts=slot.restarts,
            next_try_seconds=pause,
        )
        self._nursery.start_soon(self._start_again, slot, pause)

    async def _start_again(self, slot: Slot, pause: float) -> None:
        await trio.sleep(pause)
        if self._is_leaving:
            return
        try:
            slot.worker = self._start(slot)
        except OSError as error:
            self._not_started(slot, error)

    def _not_started(self, slot: Slot, error: OSError) -> None:
        pause = slot.failed(0.0)
        _log.error("worker not started", worker=slot.number, error=str(error), next_try_seconds=pause)
        if self._nursery is not None:
            self._nursery.start_soon(self._start_again, slot, pause)

    # Replacing.

    async def _replace_loop(self) -> None:
        while True:
            await self._wants_replacing.wait()
            self._wants_replacing = trio.Event()
            try:
                check(self._load_config(), len(self.slots))
            except ConfigError as error:
                _log.error("workers not replaced", error=str(error))
                continue
            for slot in self.slots:
                if self._is_leaving or not await self._replace(slot):
                    break
            else:
                _log.info("workers replaced", pids=self._pids())

    async def _replace(self, slot: Slot) -> bool:
        """Let a successor serve, then let the worker leave; tell whether the successor does.

        Both have the same sockets, so whoever comes meanwhile is taken by one or the other.
        """
        before = slot.worker
        if before is None:
            return True  # it is started anew anyway
        try:
            successor = self._start(slot)
        except OSError as error:
            _log.error("workers not replaced", worker=slot.number, error=str(error))
            return False
        serves = await ready_or_ended(successor, START_SECONDS)
        if self._is_leaving:
            return False
        if not serves:
            successor.tell(signal.SIGKILL)
            _log.error("workers not replaced", worker=slot.number, error="the successor does not serve")
            return False
        slot.worker = successor
        before.tell(signal.SIGTERM)
        await self._wait_ended(before)
        return True

    async def _wait_ended(self, worker: Worker) -> None:
        with trio.move_on_after(self._config.server.shutdown_seconds + _SPARE_SECONDS):
            await worker.ended.wait()
        worker.tell(signal.SIGKILL)
        await worker.ended.wait()

    # Leaving.

    async def _obey_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    self._wants_replacing.set()
                else:
                    self._leave(signal.Signals(number))

    def _leave(self, number: signal.Signals) -> None:
        """Pass a signal on to all workers; when they have ended, so does this."""
        is_first, self._is_leaving = not self._is_leaving, True
        for slot in self.slots:
            slot.close()
        for worker in self._running:
            worker.tell(number)
            if is_first and self._nursery is not None:
                self._nursery.start_soon(self._wait_ended, worker)
        self._end_if_all_ended()

    def _end_if_all_ended(self) -> None:
        if self._nursery is not None and not self._running:
            self._nursery.cancel_scope.cancel()

    def _pids(self) -> list[int]:
        return [slot.worker.pid for slot in self.slots if slot.worker is not None]
