"""Which servers a run is about: chatd started here, a peer started here, or a server given by address."""

import contextlib
import functools
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import servers
from bench.dialects import DIALECTS
from bench.loopback import check_target, parse_address
from bench.servers import CONFIG, Server

Launch = Callable[[int | None, Sequence[str]], contextlib.AbstractContextManager[Server]]
"""Brings a server up on a core, for one round, with accounts of these names where it wants accounts."""


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

    def launches(self) -> list[Launch]:
        """Return what brings up each server of a round, in the order of a round.

        Raises:
            UnknownPeer: The peer is not one of those the bench can run.
            TargetRefused: The address may not be loaded.
        """
        launches = [self._given()] if self.address else [self._own()]
        if self.peer:
            launches.append(self._peer())
        return launches

    def _own(self) -> Launch:
        return lambda core, accounts: servers.chatd(new_run(), core, self.config, accounts)

    def _peer(self) -> Launch:
        name, separator, binary = self.peer.partition("=")
        if name != "centrifugo" or not separator:
            raise UnknownPeer(f"--peer {self.peer}: give centrifugo=PATH_OF_ITS_BINARY")
        return lambda core, accounts: servers.centrifugo(binary, new_run(), core)

    def _given(self) -> Launch:
        address = check_target(*parse_address(self.address), self.allow_remote)
        return functools.partial(_attached, self, address)


@contextlib.contextmanager
def _attached(target: Target, address: tuple[str, int], core: int | None, accounts: Sequence[str]) -> Iterator[Server]:
    """Use a server that runs already; it stays on the cores it has, and keeps the accounts it has."""
    dialect = DIALECTS[target.speaks](new_run())
    secret = servers.load_secret(Path(target.secret_file)) if target.secret_file else b""
    yield Server(f"{target.speaks} at {target.address}", "", dialect, address, target.pid, secret)


def new_run() -> str:
    """Make a name for a run that no other has."""
    return secrets.token_hex(4)
