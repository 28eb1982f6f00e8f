"""Whether the public port can be opened, or is open already."""

import errno
import socket

import httpx

from chatd.config import Config, Server
from chatd.doctor import Finding, failure, ok

_ASK_SECONDS = 3.0

_ADVICE = {
    errno.EACCES: "ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
    errno.EADDRNOTAVAIL: "set server.host to an address of this machine, or 0.0.0.0 for all of them",
}


async def check_port(config: Config) -> list[Finding]:
    """Bind the port and give it back; where something has it, ask that whether it is a chatd."""
    server = config.server
    subject = f"port {server.port}"
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        return [
            failure(subject, f"server.host {server.host!r} is no address: {error}", "set it to one of this machine")
        ]
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            _try(family, kind, protocol, address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return [await _who_has_it(config, subject, str(address[0]))]
            advice = _ADVICE.get(error.errno or 0, "set server.host and server.port")
            return [failure(subject, f"{server.host}: {error.strerror or error}", advice)]
    return [ok(subject, f"can be opened on {server.host or 'all addresses'}")]


def _try(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        trial.bind(address)
        trial.listen(1)


async def _who_has_it(config: Config, subject: str, host: str) -> Finding:
    if await _is_chatd(config.server, host):
        return ok(subject, "a chatd serves on it")
    return failure(subject, "another program has it", "end that, or set server.port (`ss -ltnp` shows who has what)")


async def _is_chatd(server: Server, host: str) -> bool:
    """Return whether what listens there answers as a chatd does. Its certificate need not fit this address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if server.tls.certificate else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}/healthz"
    async with httpx.AsyncClient(verify=False, timeout=_ASK_SECONDS, trust_env=False) as client:
        try:
            answer = await client.get(url)
        except httpx.HTTPError:
            return False
    return answer.status_code == 200 and answer.text.strip() == "alive"
