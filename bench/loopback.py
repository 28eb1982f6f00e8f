"""Keeps load away from machines that did not ask for it."""

import ipaddress
import socket


class TargetRefused(Exception):
    """The address is not on this machine, and nobody said that it may be loaded all the same."""


def check_target(host: str, port: int, allow_remote: bool) -> tuple[str, int]:
    """Resolve an address once, and return it if it may be loaded.

    What is returned is the resolved address, so that a name cannot come to mean another machine afterwards.

    Raises:
        TargetRefused: It is not loopback, or unknown.
    """
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise TargetRefused(f"{host}:{port}: {error.strerror or error}") from error
    address = found[0][4][0]
    if not isinstance(address, str) or not (allow_remote or ipaddress.ip_address(address).is_loopback):
        raise TargetRefused(f"{host} is not this machine; give --allow-remote if you may load it")
    return address, port


def parse_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT.

    Raises:
        TargetRefused: It is not of that form.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise TargetRefused(f"{text!r} is not HOST:PORT")
    if ":" in host:
        raise TargetRefused(f"{text!r}: the load generator speaks IPv4 only")
    return host, int(port)
