"""Addresses and networks, as lists in the configuration name them."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """A set of addresses, given by addresses and networks."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take texts such as `10.0.0.0/8` and `::1`.

        Raises:
            ValueError: One of them is neither an address nor a network. Its text is one line.
        """
        self._networks = []
        for text in texts:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise ValueError(f"{text!r} is no address or network ({error})") from error

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """Return the address, without its zone; None if it is none."""
    try:
        return unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def unmapped(address: Address) -> Address:
    """Return the IPv4 address for one that is written as IPv6 (::ffff:…), as a dual-stack port sees it."""
    return getattr(address, "ipv4_mapped", None) or address
