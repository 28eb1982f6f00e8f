"""The life of a node: start, serve, and leave in order, within a deadline."""

import gc
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog
import trio

from chatd import logs, reload
from chatd.config import Config, ConfigError
from chatd.drain import drain_sessions
from chatd.metrics import watch_lag
from chatd.node import Node, build_node
from chatd.ports import url_of
from chatd.redis import RedisError
from chatd.retention import retention_loop
from chatd.secret import load_or_create
from chatd.stores import open_store
from chatd.waiting_room import waiting_room
from chatd.workers.gathering import Gathering
from storage import StoreError

LoadConfig = Callable[[], Config]
OnReady = Callable[[list[str]], None]

_log = structlog.get_logger("server")


async def serve(
    config: Config, load_config: LoadConfig, on_ready: OnReady, descriptors: Sequence[int] | None = None
) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP takes over what `load_config` returns then.

    `on_ready` is called once with the URLs of the public port, when clients may come. A worker of a supervisor is given
    the `descriptors` of sockets that listen already.

    Raises:
        ConfigError: The configuration cannot be used here.
        StoreError: The database cannot be opened.
        RedisError: Redis cannot be reached.
        OSError: The port cannot be opened, or the folder `server.var` cannot be made.
    """
    var = Path(config.server.var)
    _make_folder(var)
    secret = load_or_create(var / "secret")
    failure: Exception | None = None  # a nursery would wrap it in a group
    async with AsyncExitStack() as stack:
        # A worker leaves who comes meanwhile to the other workers of its port, or to the queue that it will serve.
        if config.store.kind == "cassandra" and descriptors is None:
            async with waiting_room(config, descriptors) as listening:
                opened = await stack.enter_async_context(open_store(config))
        else:
            listening = list(descriptors or ())
            opened = await stack.enter_async_context(open_store(config))
        node = build_node(config, secret, opened.store, opened.jobs)
        node.settings.on_replaced += [lambda new: logs.configure(new.log), opened.replace]
        async with trio.open_nursery() as services:
            try:
                await prepare(node, services)
                addresses = node.listener.bind(listening)
            except (ConfigError, StoreError, RedisError, OSError) as error:
                failure = error
            else:
                urls = [url_of(config, *at) for at in addresses]
                if descriptors is not None:
                    node.metrics.gathering = Gathering(var, node.metrics.collect)
                    services.start_soon(node.metrics.gathering.run)
                parts = parts_of(node)
                parts += [
                    partial(watch_lag, node.counters.lag),
                    partial(opened.store.run, config.store.encryption.refresh_seconds),
                    partial(retention_loop, opened.store, lambda: node.settings.config, now=time.time),
                ]
                for part in parts:
                    services.start_soon(part)
                if node.cluster is not None:
                    await node.cluster.start(urls[0])
                _spare_the_collector()
                await _serve_until_told(node, load_config, lambda: on_ready(urls))
                if node.cluster is not None:
                    await node.cluster.stop()
            services.cancel_scope.cancel()
        if failure is not None:
            raise failure
        with trio.CancelScope(shield=True):
            try:
                await node.broker.stop()
            except StoreError as error:
                _log.error("recent channels are not saved", error=str(error))


async def prepare(node: Node, services: trio.Nursery) -> None:
    """Connect to what the node shares with others, and read what must be known before anybody comes."""
    if node.cluster is not None:
        await services.start(node.cluster.servers.run)
        await node.cluster.servers.start()
        await node.cluster.check_layout()
    await node.broker.start()
    await node.accounts.start()
    await node.backend.keys.start()
    await node.webhooks.start()


def parts_of(node: Node) -> list[Callable[[], Awaitable[None]]]:
    """Return what runs as long as the node does."""
    parts: list[Callable[[], Awaitable[None]]] = [
        node.poller.run,
        node.hub.run,
        node.broker.run,
        node.tracker.run,
        node.reads.run,
        node.pushing.run,
        node.webhooks.run,
        node.hooks.run,
        node.keepalive.run,
        node.backend.run,
    ]
    return parts if node.cluster is None else [*parts, node.cluster.run]


def _make_folder(path: Path) -> None:
    """Make the folder of what chatd writes; what is in it concerns its owner only."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"server.var: cannot make {path}: {error.strerror}") from error


async def _serve_until_told(node: Node, load_config: LoadConfig, on_ready: Callable[[], None]) -> None:
    """Serve until a signal says to leave and everybody has left."""
    http_scope = trio.CancelScope()
    http_done = trio.Event()

    async def run_http(task_status: trio.TaskStatus[None]) -> None:
        with http_scope:
            await node.http.run(task_status)
        http_done.set()

    async def leave(window_seconds: float) -> None:
        """Let everybody go, within a deadline; whoever is still there then is cut off.

        The window is for sessions, which can come back. A request under way is finished, however short the window is.
        """
        node.leaving = "the node is leaving"
        node.listener.stop()
        node.http.say_leaving()
        with trio.move_on_after(node.settings.config.server.shutdown_seconds):
            await drain_sessions(node.hub, window_seconds, random.random)
            http_scope.cancel()
            await http_done.wait()
        node.listener.end()

    async with trio.open_nursery() as nursery:
        await nursery.start(run_http)
        await nursery.start(_obey_signals, node, leave, load_config)
        on_ready()  # whoever reads it may send signals from now on
        await node.listener.run()
        http_scope.cancel()
        await http_done.wait()
        nursery.cancel_scope.cancel()


async def _obey_signals(
    node: Node,
    leave: Callable[[float], Awaitable[None]],
    load_config: LoadConfig,
    task_status: trio.TaskStatus[None],
) -> None:
    """SIGTERM drains, Ctrl-C drains without a window, a second one ends at once, SIGHUP reloads."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    _reload(node, load_config)
                elif node.leaving is None:
                    window = node.settings.config.server.drain_seconds if number == signal.SIGTERM else 0.0
                    nursery.start_soon(leave, window)
                else:
                    _log.warning("leaving at once", sessions=len(node.hub.sessions))
                    node.listener.end()


def _reload(node: Node, load_config: LoadConfig) -> None:
    try:
        applied, refused = reload.apply(node.settings, load_config())
    except ConfigError as error:
        _log.error("configuration not reloaded", error=str(error))
        return
    _log.info("configuration reloaded", changed=", ".join(applied) or "nothing")
    if refused:
        _log.warning("these keys need a restart", keys=", ".join(refused))


def _spare_the_collector() -> None:
    """Keep the garbage collector away from what lives as long as the process, and from running too often.

    Nothing on the way of a message makes cycles, so there is little to collect; but with 100,000 sessions in memory
    each full collection walks over all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
