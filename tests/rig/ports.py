"""Ports for services that cannot choose one themselves."""

import random
import socket

# Below what Linux gives to outgoing connections (net.ipv4.ip_local_port_range begins at 32768), so that no client takes
# the port of a server that is down for a moment; and 10,000 above it is still a port, which Redis uses by default.
_FIRST, _LAST = 10_000, 32_000
_TRIES = 200


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on now, and that a server may come back to after a restart."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as trial:
            try:
                trial.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {address}")
