"""Which addresses the node may connect to on behalf of somebody who only gave a URL.

A URL that leads inside (a database on loopback, the metadata service of a cloud, the router) would let its author use
the node's place in the network: server-side request forgery (OWASP API7:2023).
"""

import ipaddress

from chatd.networks import Address

# RFC 1918, RFC 6598 (carriers), RFC 4193, loopback.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1")
)

# RFC 6890: for protocols; Oracle's metadata service is in it. Not every version of Python knows all of it.
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")

# RFC 6052 and RFC 8215: IPv4 addresses behind a translator.
_TRANSLATED = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))

# Metadata services of clouds that are not link-local, as 169.254.169.254 is: Alibaba's and Amazon's by IPv6.
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))


def is_allowed(address: Address, *, allow_private: bool) -> bool:
    """Tell whether the node may connect there.

    Public addresses always; loopback and private ones only if allowed; never link-local ones, the metadata services of
    clouds, multicast, and what is no address of one host.
    """
    inner = _inner(address)
    if inner is not None:
        return is_allowed(inner, allow_private=allow_private)
    if address in _METADATA or address in _PROTOCOLS or address.is_multicast:
        return False
    if any(address in network for network in _PRIVATE):
        return allow_private
    is_odd = address.is_reserved or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    return address.is_global and not is_odd


def _inner(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 one leads to in the end: mapped, or behind a tunnel or a translator."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
