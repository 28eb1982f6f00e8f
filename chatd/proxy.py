"""The address of a client behind proxies: PROXY protocol headers, and the headers that HTTP proxies add.

Without any input or output: bytes and strings in, addresses out. Whether somebody may be believed at all is decided
here too (`TrustedProxies`); nothing from anybody else changes an address.
"""

import ipaddress
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatd.config import ConfigError
from chatd.networks import Networks, parse_address, unmapped

_V1_START = b"PROXY "
_V1_MAX_BYTES = 107  # with the line's end; the specification, section 2.1
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_V2_CRC32C = 0x03
# Family and transport → how the addresses are laid out; None: well formed, but of no use on a TCP port.
_V2_FAMILIES: dict[int, tuple[int, int] | None] = {
    0x00: None,
    0x11: (4, 12),
    0x12: (4, 12),
    0x21: (16, 36),
    0x22: (16, 36),
    0x31: None,
    0x32: None,
}


class ProxyError(Exception):
    """The bytes are no PROXY header, or one that must not be believed: close the connection."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A PROXY header: its length in bytes, and the client's address, or None if the connection is the proxy's own."""

    size: int
    address: str | None
    port: int


def parse_proxy_header(data: bytes | bytearray, max_bytes: int) -> ProxyHeader | None:
    """Read the header (version 1 or 2) that begins a connection; None while more bytes are needed.

    What does not begin like a header is refused at once, and one longer than `max_bytes` as soon as that is known.

    Raises:
        ProxyError: It is not a header that the specification allows.
    """
    if data[: len(_V1_START)] == _V1_START:
        return _parse_v1(bytes(data[:_V1_MAX_BYTES]))
    if data[: len(_V2_START)] == _V2_START:
        return _parse_v2(bytes(data), max_bytes)
    if _V1_START.startswith(data) or _V2_START.startswith(data):
        return None
    raise ProxyError("the connection does not begin with a PROXY header")


# Version 1: one line of text.


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) == _V1_MAX_BYTES:
            raise ProxyError("a version 1 header is one line of at most 107 bytes")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(end + 2, None, 0)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("a version 1 header names TCP4 or TCP6, two addresses and two ports")
    source, _destination = (_v1_address(word, 4 if words[1] == b"TCP4" else 6) for word in words[2:4])
    port, _port = (_v1_port(word) for word in words[4:6])
    return ProxyHeader(end + 2, source, port)


def _v1_address(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise ProxyError("a version 1 header has an address that is none") from None
    if address.version != version or b"%" in word:
        raise ProxyError("a version 1 header has an address of the other family")
    return str(unmapped(address))


def _v1_port(word: bytes) -> int:
    if not re.fullmatch(rb"0|[1-9][0-9]{0,4}", word) or int(word) > 0xFFFF:
        raise ProxyError("a version 1 header has a port that is none")
    return int(word)


# Version 2: binary.


def _parse_v2(data: bytes, max_bytes: int) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_V2_START))
    size = _V2_HEAD_BYTES + length
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ProxyError(f"a version 2 header has the unknown version or command 0x{command:02x}")
    if size > max_bytes:
        raise ProxyError(f"a version 2 header of {size} bytes; the limit is {max_bytes}")
    if len(data) < size:
        return None
    if family not in _V2_FAMILIES:
        # The command LOCAL says that nothing after the length is to be looked at.
        if command == _V2_PROXY:
            raise ProxyError(f"a version 2 header has the unknown family 0x{family:02x}")
        return ProxyHeader(size, None, 0)
    layout = _V2_FAMILIES[family]
    if command == _V2_LOCAL or layout is None:
        return ProxyHeader(size, None, 0)
    return _v2_addresses(data[:size], layout)


def _v2_addresses(header: bytes, layout: tuple[int, int]) -> ProxyHeader:
    width, block = layout
    if len(header) < _V2_HEAD_BYTES + block:
        raise ProxyError("a version 2 header is too short for its addresses")
    _check_tlvs(header, _V2_HEAD_BYTES + block)
    address = ipaddress.ip_address(header[_V2_HEAD_BYTES : _V2_HEAD_BYTES + width])
    (port,) = struct.unpack_from("!H", header, _V2_HEAD_BYTES + 2 * width)
    return ProxyHeader(len(header), str(unmapped(address)), port)


def _check_tlvs(header: bytes, at: int) -> None:
    """Step over the values that follow the addresses; only a checksum means anything here."""
    while at < len(header):
        if at + 3 > len(header):
            raise ProxyError("a version 2 header ends within a value")
        kind, length = struct.unpack_from("!BH", header, at)
        at += 3
        if at + length > len(header):
            raise ProxyError("a version 2 header ends within a value")
        if kind == _V2_CRC32C:
            _check_sum(header, at, length)
        at += length


def _check_sum(header: bytes, at: int, length: int) -> None:
    # Section 2.2.2: counted over the whole header with this field as zeros; a wrong sum must end the connection.
    zeroed = header[:at] + bytes(length) + header[at + length :]
    if length != 4 or struct.unpack_from("!I", header, at)[0] != crc32c(zeroed):
        raise ProxyError("a version 2 header has a wrong checksum")


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720 (Castagnoli), which zlib does not have."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


# The headers of HTTP proxies.

# One `name=value` of RFC 7239, the value a token or a quoted string, and what ends it.
_FORWARDED_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]+))\s*(;|,|$)')
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+)(?::[0-9]+)?")


class TrustedProxies:
    """The proxies whose word about a client's address is believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take addresses and networks, as `server.trusted_proxies` has them.

        Raises:
            ConfigError: One of them is neither.
        """
        try:
            self._networks = Networks(networks)
        except ValueError as error:
            raise ConfigError(f"server.trusted_proxies: {error}") from error

    def trusts(self, address: str) -> bool:
        """Tell whether this is a proxy that is believed."""
        return address in self._networks

    def client_address(self, peer: str, headers: Iterable[tuple[str, str]]) -> str:
        """Return the address of the client whose request came from `peer` with these headers.

        Each proxy adds the address that it was called from, so the list is read from its end for as long as it was
        written by somebody trusted. What a client put there itself is never reached. `Forwarded` and
        `X-Forwarded-For` must agree if both came: a proxy knows one of them and passes on what it was given of the
        other. Where they do not, or somebody trusted wrote no address, it is the last address that is known.
        """
        if not self._networks or not self.trusts(peer):
            return peer
        forwarded: list[str] = []
        x_forwarded: list[str] = []
        for name, value in headers:
            match name.lower():
                case "forwarded":
                    forwarded += _forwarded_hops(value)
                case "x-forwarded-for":
                    x_forwarded += value.split(",")
        found = {self._walk(peer, hops) for hops in (forwarded, x_forwarded) if hops}
        return found.pop() if len(found) == 1 else peer

    def _walk(self, peer: str, hops: Sequence[str]) -> str:
        address = peer
        for hop in reversed(hops):
            added = _hop_address(hop)
            if added is None:
                break
            address = added
            if not self.trusts(address):
                break
        return address


def _forwarded_hops(value: str) -> list[str]:
    """Return the `for` of each element of a `Forwarded` header; an element without one gives an empty text.

    A header that is not well formed gives one empty text: a quote that a client left open must not hide what a proxy
    added.
    """
    hops: list[str] = []
    hop = ""
    at = 0
    while at < len(value):
        pair = _FORWARDED_PAIR.match(value, at)
        if pair is None:
            return [""]
        name, quoted, token, end = pair.groups()
        if name.lower() == "for":
            hop = re.sub(r"\\(.)", r"\1", quoted) if token is None else token
        if end != ";":
            hops.append(hop)
            hop = ""
        at = pair.end()
    return hops


def _hop_address(text: str) -> str | None:
    """Return the address in one entry of a list, which may have a port; None if there is none."""
    text = text.strip()
    with_port = _WITH_PORT.fullmatch(text)
    address = parse_address(text if with_port is None else with_port[1] or with_port[2] or "")
    return None if address is None else str(address)
