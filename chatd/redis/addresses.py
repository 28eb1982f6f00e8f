"""Where Redis servers are: `HOST:PORT` in the configuration, read. It needs no package for Redis."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `HOST`, or `[IPV6]:PORT`.

    Raises:
        ValueError: It is none of these.
    """
    host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "6379")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return Address(host.strip("[]"), int(port))
