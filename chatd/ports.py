"""Opening the public port, and its address."""

import os
import socket
from collections.abc import Sequence

from chatd.config import Config, Server


def open_port(server: Server, port: int | None = None, *, shared: bool = False) -> list[socket.socket]:
    """Listen on every address that the host has; with port 0, all get the one that the first one got.

    With `shared`, other sockets of this user may listen on the same port, and the kernel spreads connections over them.

    Raises:
        OSError: It cannot be opened. Its text says where, and why.
    """
    port = server.port if port is None else port
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(server.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            port = sock.getsockname()[1]
            sock.listen(server.backlog)
    except (OSError, UnicodeError) as error:  # a host with an empty or long label is a UnicodeError
        for sock in sockets:
            sock.close()
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OSError(f"cannot listen on {server.host!r} port {port}: {reason}") from error
    return sockets


def adopt_port(descriptors: Sequence[int]) -> list[socket.socket]:
    """Take over listening sockets that the process was started with.

    Raises:
        OSError: One of them is none.
    """
    sockets = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def url_of(config: Config, address: str, port: int) -> str:
    """Return the URL of an address of the public port."""
    scheme = "https" if config.server.tls.certificate else "http"
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"
