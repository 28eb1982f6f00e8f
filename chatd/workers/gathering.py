"""/metrics of all workers of a machine together: whichever is asked asks the others and adds up.

Each worker answers on a Unix socket in `server.var`, which only the owner can reach, with what it would say of itself.
What counts or fills is added; of what is a property (a version, a start, the number of nodes) one worker's word is
taken, the largest. Who does not answer in time is left out, and `chatd_workers` says how many are in the sum.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

FOLDER = "workers"
ANSWER_SECONDS = 1.0
_MOST_BYTES = 4_194_304
_READ_BYTES = 65536
# sun_path of a Unix socket's address has 108 bytes on Linux, 104 elsewhere.
_PATH_LENGTH = 100

PROPERTIES = frozenset(
    {"chatd_build_info", "process_start_time_seconds", "process_max_fds", "chatd_cluster_nodes", "chatd_redis_servers"}
)
"""Metrics that are not added up."""

_log = structlog.get_logger("workers")


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One number."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with its samples."""

    name: str
    help: str
    kind: str
    samples: list[Sample]


_decode = msgspec.msgpack.Decoder(list[Family]).decode
_encode = msgspec.msgpack.Encoder().encode


class Gathering:
    """One worker's part in it. `collect` gives its own metrics."""

    def __init__(self, var: Path, collect: Callable[[], Iterable[Metric]]) -> None:
        self._folder = var / FOLDER
        self._name = f"{os.getpid()}.metrics"
        self._collect = collect

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer other workers, until cancelled."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / self._name
        path.unlink(missing_ok=True)
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, _Address(path) as address:
            await listening.bind(address)
            listening.listen(16)
            try:
                async with trio.open_nursery() as nursery:
                    task_status.started()
                    while True:
                        try:
                            connection, _ = await listening.accept()
                        except OSError as error:  # no descriptors are left: whoever asks does without this worker
                            _log.warning("other workers are not answered", error=str(error))
                            await trio.sleep(ANSWER_SECONDS)
                            continue
                        nursery.start_soon(self._answer, trio.SocketStream(connection))
            finally:
                path.unlink(missing_ok=True)

    async def render(self) -> tuple[bytes, str]:
        """Return the sum of all workers in Prometheus' text format, and its content type."""
        found = [_families(self._collect())]

        async def ask(path: Path) -> None:
            with trio.move_on_after(ANSWER_SECONDS):
                answer = await _ask(path)
                if answer is not None:
                    found.append(answer)

        async with trio.open_nursery() as nursery:
            for path in sorted(self._folder.glob("*.metrics")):
                if path.name != self._name:
                    nursery.start_soon(ask, path)
        registry = CollectorRegistry()
        registry.register(_Sum(add_up(found), len(found)))
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    await stream.send_all(_encode(_families(self._collect())))
                except trio.BrokenResourceError:
                    pass  # nobody waits for it any more
                except Exception:
                    _log.exception("metrics cannot be told to another worker")


def add_up(workers: list[list[Family]]) -> list[Family]:
    """Add the metrics of several workers."""
    sums: dict[str, tuple[Family, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
    for families in workers:
        for family in families:
            _, values = sums.setdefault(family.name, (family, {}))
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if family.name in PROPERTIES:
                    values[key] = max(values.get(key, sample.value), sample.value)
                else:
                    values[key] = values.get(key, 0.0) + sample.value
    return [
        Family(
            family.name,
            family.help,
            family.kind,
            [Sample(name, dict(labels), value) for (name, labels), value in values.items()],
        )
        for family, values in sums.values()
    ]


class _Sum(Collector):
    def __init__(self, families: list[Family], workers: int) -> None:
        count = Family("chatd_workers", "Workers of this machine in these numbers.", "gauge", [])
        count.samples.append(Sample("chatd_workers", {}, workers))
        self._families = [*families, count]

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


class _Address:
    """A path as the address of a Unix socket, however long it is: Linux reaches it through its folder's descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _PATH_LENGTH:
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            os.close(self._folder)


async def _ask(path: Path) -> list[Family] | None:
    """Return what another worker says; None if it is gone."""
    try:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, _Address(path) as address:
            await sock.connect(address)
            data = b""
            while chunk := await sock.recv(_READ_BYTES):
                data += chunk
                if len(data) > _MOST_BYTES:
                    return None
        return _decode(data)
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:  # it was killed: nobody will answer there
            _forget(path)
        return None
    except msgspec.DecodeError as error:  # of another version, or cut off
        _log.warning("a worker's metrics cannot be read", worker=path.stem, error=str(error))
        return None


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def _families(metrics: Iterable[Metric]) -> list[Family]:
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [Sample(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples],
        )
        for metric in metrics
    ]
