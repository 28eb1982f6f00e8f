"""A line to each node of the own data centre that is up; which nodes there are is the driver's knowledge."""

from collections.abc import Iterator

import structlog
import trio
from cassandra.cluster import Cluster
from cassandra.policies import HostDistance
from cassandra.pool import Host

from storage.cassandra_line import Entry, Line, LineBroken, connect
from storage.cassandra_settings import CassandraSettings

LOOK_SECONDS = 0.5  # how often the driver's list of nodes is compared with the lines

_log = structlog.get_logger(__name__)


class Lines:
    """Opens lines, closes those to nodes that went, and says which one to take. All of it on trio's thread."""

    def __init__(self, cluster: Cluster, settings: CassandraSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._lines: dict[Host, Line] = {}
        self._kept: dict[Host, trio.CancelScope] = {}  # nodes for which there is a line, or is about to be
        self._said: set[Host] = set()  # nodes of which the log says that they let no line in

    async def run(self) -> None:
        """Keep the lines, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                near = set(self._near())
                for host, scope in self._kept.items():
                    if host not in near:
                        scope.cancel()
                for host in near:
                    if host not in self._kept:
                        self._kept[host] = trio.CancelScope()
                        nursery.start_soon(self._keep, host)
                await trio.sleep(LOOK_SECONDS)

    def _near(self) -> Iterator[Host]:
        distance = self._cluster.profile_manager.distance
        for host in self._cluster.metadata.all_hosts():
            if host.is_up and distance(host) == HostDistance.LOCAL:
                yield host

    async def _keep(self, host: Host) -> None:
        """Have a line to a node until it breaks."""
        try:
            with self._kept[host]:
                try:
                    with trio.fail_after(self._settings.connect_seconds):
                        line = await connect(self._entry(host))
                except (LineBroken, trio.TooSlowError) as error:
                    self._say(host, error)
                    return
                self._said.discard(host)
                self._lines[host] = line
                await line.run()
        finally:
            self._lines.pop(host, None)
            del self._kept[host]

    def _entry(self, host: Host) -> Entry:
        settings, endpoint = self._settings, host.endpoint
        return Entry(endpoint.address, endpoint.port, self._cluster.ssl_context, settings.user, settings.password)

    def _say(self, host: Host, error: Exception) -> None:
        if host not in self._said:
            self._said.add(host)
            _log.warning("no connection for batches", node=str(host.endpoint), error=str(error) or "no answer in time")

    # Choosing.

    def best(self, routing_key: bytes) -> Line | None:
        """Return a line to a node that has the partition; the one with the least to answer, and not one that hangs."""
        return self._quickest(self._lines_to(routing_key))

    def other(self, routing_key: bytes, than: Line) -> Line | None:
        """Return another such line, if there is one that does not hang."""
        line = self._quickest([line for line in self._lines_to(routing_key) if line is not than])
        return None if line is None or self._hangs(line) else line

    def _lines_to(self, routing_key: bytes) -> list[Line]:
        lines = self._lines
        if len(lines) > 1:
            replicas = self._cluster.metadata.get_replicas(self._settings.keyspace, routing_key)
            found = [lines[host] for host in replicas if host in lines]
            if found:
                return found
        return list(lines.values())

    def _quickest(self, lines: list[Line]) -> Line | None:
        if len(lines) == 1:
            return lines[0] if lines[0].can_send else None
        usable = [line for line in lines if line.can_send]
        return min(usable, key=lambda line: (self._hangs(line), line.unanswered), default=None)

    def _hangs(self, line: Line) -> bool:
        return trio.current_time() - line.waits_since() > self._settings.speculative_seconds
