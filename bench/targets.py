"""Which servers a run is about: chatd started here, a peer started here, or a server given by address."""

import contextlib
import functools
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import nodes, servers
from bench.accounts import Population
from bench.dialects import Centrifugo, Chatd, Dialect, Encoding
from bench.loopback import TargetRefused, check_target, parse_address
from bench.servers import CONFIG, Server
from bench.warming import WARM_SECONDS

Store = Literal["sqlite", "cassandra"]

Launch = Callable[[int | None, Population], contextlib.AbstractContextManager[Server]]
"""Brings a server up on a core, for one round, with these accounts where it wants accounts."""


class UnknownPeer(Exception):
    """The bench does not know how to run this peer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes, as it was asked for."""

    config: Path = CONFIG
    address: str = ""
    speaks: str = "chatd"
    pid: int = 0
    secret_file: str = ""
    allow_remote: bool = False
    peer: str = ""
    encoding: Encoding = "json"
    compress: bool = False
    store: Store = "sqlite"
    cassandra: str = ""  # of store "cassandra": HOST:PORT of one that runs; else one is started
    cassandra_warm_seconds: float = WARM_SECONDS  # at most, if one is started
    nodes: int = 0  # so many nodes through a Redis that is started here; 0: one node without Redis
    workers: int = 0  # so many workers behind one port, through such a Redis, on Cassandra
    peer_history: bool = True  # of several nodes: whether the peer keeps messages, as rooms of chatd do

    @property
    def name(self) -> str:
        """What the server is called in results: chatd, and what is not as usual: encoding, compression, store."""
        spoken = ["msgpack"] * (self.encoding == "msgpack") + ["compressed"] * self.compress
        spoken += [f"on {self.store}"] * (self.store != "sqlite")
        spoken += [_counted(self.nodes, "node")] * bool(self.nodes)
        spoken += [_counted(self.workers, "worker")] * bool(self.workers)
        return " ".join(["chatd", *spoken])

    @property
    def is_only_chatd(self) -> bool:
        """Whether no other kind of server takes part."""
        return self.speaks == "chatd" and self.peer in ("", "chatd")

    @property
    def is_beside_database(self) -> bool:
        """Whether one server and its database are measured together, on all cores that there are."""
        return self.store == "cassandra" and not self.nodes and not self.workers

    def launches(self) -> list[Launch]:
        """Return what brings up each server of a round, in the order of a round.

        Raises:
            UnknownPeer: The peer is not one of those the bench can run.
            TargetRefused: The address may not be loaded.
        """
        if not self.is_only_chatd and self.encoding != "json":
            raise UnknownPeer("MessagePack is chatd's alone: compare it with --peer chatd")
        launches = [self._given()] if self.address else [self._own()]
        if self.peer:
            launches.append(self._peer())
        return launches

    def _own(self) -> Launch:
        return functools.partial(_own, self)

    def _peer(self) -> Launch:
        if self.peer == "chatd":
            if self.name == Target().name:
                raise UnknownPeer("--peer chatd is plain JSON: it is for --encoding msgpack and --compress")
            return lambda core, population: servers.chatd("chatd", Chatd(new_run()), core, self.config, population)
        name, separator, binary = self.peer.partition("=")
        if name != "centrifugo" or not separator:
            raise UnknownPeer(f"--peer {self.peer}: give centrifugo=PATH_OF_ITS_BINARY, or chatd")
        if shutil.which(binary) is None:
            raise UnknownPeer(f"--peer {self.peer}: {binary} is no program that can be run")
        if self.nodes:
            return lambda core, population: nodes.centrifugo_nodes(
                binary, Centrifugo(self.compress), core, self.nodes, history=self.peer_history
            )
        return lambda core, population: servers.centrifugo(binary, Centrifugo(self.compress), core)

    def _given(self) -> Launch:
        address = check_target(*parse_address(self.address), self.allow_remote)
        if self.speaks == "chatd" and not self.secret_file:
            raise TargetRefused("give --secret-file: the users' tokens are signed with the server's secret")
        return functools.partial(_attached, self, address)


@contextlib.contextmanager
def _own(target: Target, core: int | None, population: Population) -> Iterator[Server]:
    """Start a chatd, and a database where it needs one."""
    dialect = Chatd(new_run(), target.encoding, target.compress)
    with contextlib.ExitStack() as stack:
        database = None
        if target.nodes:
            running = nodes.chatd_nodes(target.name, dialect, core, target.config, population, target.nodes)
            yield stack.enter_context(running)
            return
        if target.store == "cassandra" or target.workers:
            # Only here: the driver is an extra.
            from bench import cassandra

            keyspace = cassandra.keyspace(target.cassandra, f"bench_{new_run()}", target.cassandra_warm_seconds)
            database = stack.enter_context(keyspace)
            if target.workers:
                running = nodes.chatd_workers(target.name, dialect, core, target.config, database, target.workers)
                yield stack.enter_context(running)
                return
        yield stack.enter_context(servers.chatd(target.name, dialect, core, target.config, population, database))


@contextlib.contextmanager
def _attached(target: Target, address: tuple[str, int], core: int | None, population: Population) -> Iterator[Server]:
    """Use a server that runs already; it stays on the cores it has, and keeps the accounts it has."""
    dialect: Dialect = Centrifugo(target.compress)
    if target.speaks == "chatd":
        dialect = Chatd(new_run(), target.encoding, target.compress)
    secret = servers.load_secret(Path(target.secret_file)) if target.secret_file else b""
    yield Server(f"{target.speaks} at {target.address}", "", dialect, address, target.pid, secret)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def new_run() -> str:
    """Make a name for a run that no other has."""
    return secrets.token_hex(4)
