"""Servers of several nodes with a Redis between them: chatd, its workers, or Centrifugo, on one core all together.

CPU seconds are those of all nodes and of Redis. So one core is enough to say what each message costs; how many of them
a second there are is another question, which needs a core for each.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.accounts import Population, populate, sqlite_under
from bench.dialects import Centrifugo, Chatd
from bench.loopback import parse_address
from bench.redis import redis_server
from bench.servers import (
    SECRET_FILE,
    Database,
    Part,
    Server,
    centrifugo_config,
    load_secret,
    start_centrifugo,
    start_chatd,
    stop,
    version_of,
)
from chatd import __version__
from chatd.config import Store
from chatd.secret import load_or_create

_REDIS = "redis"
_HISTORY = {"history_size": 200, "history_ttl": "300s"}  # as many messages as a `room:` of chatd keeps


@contextlib.contextmanager
def chatd_nodes(
    name: str, dialect: Chatd, core: int | None, config: Path, population: Population, nodes: int
) -> Iterator[Server]:
    """Run nodes of chatd: one secret, one Redis, and a SQLite file each, with the same accounts in all of them."""
    with contextlib.ExitStack() as stack:
        pid, address = stack.enter_context(redis_server(core))
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatd-bench-")))
        folders = [root / f"node{number}" for number in range(nodes)]
        _furnish(folders, population)
        started = []
        for folder in folders:
            environment = redis_environment(address) | {"CHATD_CLUSTER__NODE": folder.name}
            process, at = start_chatd(folder, core, config, environment)
            stack.callback(stop, process)
            started.append((folder.name, process.pid, at))
        (_, first, where), *others = started
        parts = [Part(node, more) for node, more, _ in others]
        parts.append(Part(_REDIS, pid, is_node=False, address=parse_address(address)))
        addresses = tuple(at for _, _, at in others)
        secret = load_secret(folders[0] / SECRET_FILE)
        yield Server(name, __version__, dialect, where, first, secret, addresses, tuple(parts))


@contextlib.contextmanager
def chatd_workers(
    name: str, dialect: Chatd, core: int | None, config: Path, database: Database, workers: int
) -> Iterator[Server]:
    """Run a supervisor with workers behind one port, or, if it is one worker, a node as `chatd serve` starts it."""
    with contextlib.ExitStack() as stack:
        pid, address = stack.enter_context(redis_server(core))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatd-bench-")))
        environment = {**database.environment, **redis_environment(address)}
        process, at = start_chatd(folder, core, config, environment, ("--workers", str(workers)))
        stack.callback(stop, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        parts = [Part(f"worker{number}", int(child)) for number, child in enumerate(children)]
        parts.append(Part(_REDIS, pid, is_node=False))
        secret = load_secret(folder / SECRET_FILE)
        yield Server(name, __version__, dialect, at, process.pid, secret, (), tuple(parts), database.warming)


@contextlib.contextmanager
def centrifugo_nodes(
    binary: str, dialect: Centrifugo, core: int | None, nodes: int, *, history: bool
) -> Iterator[Server]:
    """Run nodes of Centrifugo with its Redis engine, one CPU each."""
    with contextlib.ExitStack() as stack:
        pid, address = stack.enter_context(redis_server(core))
        config = centrifugo_config(dialect) | {"engine": {"type": "redis", "redis": {"address": f"redis://{address}"}}}
        if history:
            config["channel"]["without_namespace"] |= _HISTORY
        started = [stack.enter_context(start_centrifugo(binary, config, core)) for _ in range(nodes)]
        (first, where), *others = started
        parts = [Part(f"node{number}", more.pid) for number, (more, _) in enumerate(others, 1)]
        parts.append(Part(_REDIS, pid, is_node=False))
        addresses = tuple(at for _, at in others)
        name = "centrifugo" if history else "centrifugo without history"
        yield Server(name, version_of(binary), dialect, where, first.pid, b"", addresses, tuple(parts))


def redis_environment(address: str) -> dict[str, str]:
    """Return what tells a chatd to use a Redis."""
    return {"CHATD_BROKER__KIND": "redis", "CHATD_REDIS__SERVERS": json.dumps([address])}


def _furnish(folders: list[Path], population: Population) -> None:
    """Make the folders of nodes: the same secret and the same database in each."""
    first, *others = folders
    first.mkdir(mode=0o700)
    load_or_create(first / SECRET_FILE)
    if population.users:
        populate(sqlite_under(first), population)
    for folder in others:
        folder.mkdir(mode=0o700)
        shutil.copy2(first / SECRET_FILE, folder / SECRET_FILE)
        if population.users:
            shutil.copy2(first / Store().path, folder / Store().path)
