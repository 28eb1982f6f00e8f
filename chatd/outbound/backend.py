"""Connections of outgoing HTTP: a name is resolved once, its addresses are looked at, and one of these is connected to.

The check and the connection use the same answer of the resolver. Checking first and letting a library resolve again
would be open to a name whose answer changes in between (DNS rebinding). The name stays what TLS verifies and what the
Host header says, since httpcore takes both from the URL.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore
import trio

from chatd.networks import Address, parse_address
from chatd.outbound.addresses import is_allowed

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a name, as texts. Raises OSError where there are none."""


class BlockedAddress(httpcore.ConnectError):
    """The name leads to no address that the node may connect to."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a name."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, to allowed addresses only."""

    def __init__(self, *, allow_private: bool, resolver: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolver
        self._tcp = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first allowed address of the host that answers.

        Raises:
            BlockedAddress: It has none.
            httpcore.ConnectError: The name is not known, or none of its allowed addresses answers.
            httpcore.ConnectTimeout: It took longer than `timeout` seconds, with the resolver's time.
        """
        with trio.move_on_after(timeout if timeout is not None else float("inf")):
            failure: httpcore.ConnectError | None = None
            for address in await self._addresses(host, port):
                try:
                    return await self._tcp.connect_tcp(str(address), port, None, local_address, socket_options)
                except httpcore.ConnectError as error:
                    failure = error
            raise failure or BlockedAddress(f"{host} has no address that may be connected to")
        raise httpcore.ConnectTimeout(f"no connection to {host} in time")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nobody outside has business with a socket of this machine."""
        raise BlockedAddress(path)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        literal = parse_address(host.strip("[]"))
        try:
            texts = [str(literal)] if literal is not None else await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        return [address for address in addresses if is_allowed(address, allow_private=self._allow_private)]
