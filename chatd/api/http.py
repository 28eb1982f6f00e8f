"""The HTTP server: the app's life, and the connections that the listener hands over."""

import logging

import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio

from chatd.api.connection import Address, Connection, HttpSettings
from chatd.api.cors import Cors
from chatd.api.express import Express
from chatd.api.gate import Gate, HotRoute, KeyDesk
from chatd.api.turnstile import Turnstile
from chatd.config import Config, Limits
from chatd.counters import Counters
from chatd.limits import AddressLimiter
from chatd.proxy import TrustedProxies

KEEP_ALIVE_REQUESTS = 1_000_000

_log = structlog.get_logger()


class HttpServer:
    """Serves the app on streams that somebody else accepted.

    `run` must be running while `serve` is called. When `run` is cancelled it closes idle connections, lets the requests
    under way finish, and returns. Who called `serve` bounds how long that may be, by ending the connections.
    """

    def __init__(
        self,
        app: QuartTrio,
        config: Config,
        limiter: AddressLimiter,
        counters: Counters,
        keys: KeyDesk,
        hot: HotRoute,
    ) -> None:
        self.app = app
        self._gate = Gate(
            app,
            limiter,
            TrustedProxies(config.server.trusted_proxies),
            counters,
            keys,
            hot,
            Cors(config.server.cors_origins),
        )
        self._hot = hot
        self._stall_seconds = config.websocket.stall_seconds
        self._context = WorkerContext(None)
        self._connections: set[Connection] = set()
        self._turnstile = Turnstile(config.limits.http_reads_per_turn)
        self.reload(config.limits)

    def reload(self, limits: Limits) -> None:
        """Serve connections that begin from now on within these limits."""
        self._turnstile.most = limits.http_reads_per_turn
        self._settings = HttpSettings(
            app=self._gate,
            hypercorn=_hypercorn_config(limits),
            context=self._context,
            idle_seconds=limits.http_idle_seconds,
            stall_seconds=self._stall_seconds,
            turnstile=self._turnstile,
            express=Express(self._gate, self._hot.matches, limits.head_bytes),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the app, keep it until cancelled, then let it finish what it has begun."""
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._live, stopping)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                stopping.set()

    async def _live(self, stopping: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        # Shielded: what ends the app is the end of its last request, not the cancelling of `run`.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                lifespan = Lifespan(self._gate, self._settings.hypercorn, {})
                await nursery.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                nursery.start_soon(self._turnstile.run)
                task_status.started()
                await stopping.wait()
                await self._drain()
                await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()

    def say_leaving(self) -> None:
        """Tell clients from now on that this node leaves: their next request goes elsewhere."""
        self._gate.is_draining = True

    async def _drain(self) -> None:
        """Answer what was asked. New requests of busy connections are still answered: refusing them helps nobody."""
        self._gate.is_draining = True
        self._close_idle()
        await self._gate.wait_all_done()
        await self._context.terminated.set()
        self._close_idle()

    def _close_idle(self) -> None:
        for connection in self._connections:
            connection.close_if_idle()

    async def serve(
        self,
        stream: trio.abc.Stream,
        *,
        data: bytes,
        alpn: str,
        tls: bool,
        client: Address,
        server: Address,
    ) -> None:
        """Serve one connection to its end and close it; `data` was read from it already. A fault stays in here.

        `client` is who is at the other end of the connection, a trusted proxy or not: the address behind it is read
        from each request, because a proxy sends the requests of many clients over one connection.
        """
        connection = Connection(self._settings, stream)
        self._connections.add(connection)
        try:
            await connection.run(data, alpn=alpn, tls=tls, client=client, server=server)
        except Exception:
            _log.exception("an HTTP connection failed", client=client[0])
        finally:
            self._connections.discard(connection)

    @property
    def connections(self) -> int:
        """How many HTTP connections are open."""
        return len(self._connections)


def _hypercorn_config(limits: Limits) -> HypercornConfig:
    settings = HypercornConfig()
    settings.h11_max_incomplete_size = limits.head_bytes
    settings.h2_max_header_list_size = limits.head_bytes
    settings.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    settings.include_server_header = False
    settings.accesslog = None
    settings.errorlog = logging.getLogger("hypercorn.error")
    return settings
