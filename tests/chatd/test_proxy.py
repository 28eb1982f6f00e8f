"""Addresses behind proxies: both versions of the PROXY header byte by byte, garbage, and what HTTP proxies add."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.config import ConfigError
from chatd.proxy import ProxyError, ProxyHeader, TrustedProxies, crc32c, parse_proxy_header

MAX = 4096
V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(
    source: str,
    destination: str,
    *,
    command: int = 0x21,
    family: int | None = None,
    tlvs: bytes = b"",
    port: int = 4711,
) -> bytes:
    packed = ipaddress.ip_address(source).packed
    body = packed + ipaddress.ip_address(destination).packed + struct.pack("!HH", port, 443) + tlvs
    family = family if family is not None else (0x11 if len(packed) == 4 else 0x21)
    return V2 + struct.pack("!BBH", command, family, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(source: str, *, wrong_by: int = 0) -> bytes:
    zeroed = v2(source, "192.0.2.2", tlvs=tlv(0x02, b"chat.example") + tlv(0x03, bytes(4)))
    return zeroed[:-4] + struct.pack("!I", crc32c(zeroed) ^ wrong_by)


GOOD = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", "192.0.2.1", 4711),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n", "2001:db8::1", 0),
    "v1 TCP6 mapped": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1", 1),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None, 0),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 whatever 65536 1\r\n", None, 0),
    "v2 TCP4": (v2("192.0.2.1", "192.0.2.2"), "192.0.2.1", 4711),
    "v2 TCP6": (v2("2001:db8::1", "2001:db8::2"), "2001:db8::1", 4711),
    "v2 TCP6 mapped": (v2("::ffff:192.0.2.1", "::1"), "192.0.2.1", 4711),
    "v2 values": (v2("192.0.2.1", "192.0.2.2", tlvs=tlv(0x01, b"h2") + tlv(0xEA, b"")), "192.0.2.1", 4711),
    "v2 checksum": (with_checksum("192.0.2.1"), "192.0.2.1", 4711),
    "v2 LOCAL": (v2("192.0.2.1", "192.0.2.2", command=0x20), None, 0),
    "v2 LOCAL alone": (V2 + b"\x20\x00\x00\x00", None, 0),
    "v2 LOCAL with nonsense": (V2 + b"\x20\x99\x00\x02ab", None, 0),
    "v2 unspecified": (V2 + b"\x21\x00\x00\x03abc", None, 0),
    "v2 UNIX": (V2 + b"\x21\x31\x00\xd8" + bytes(216), None, 0),
}

BAD = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "lower case": b"proxy TCP4",
    "TLS": b"\x16\x03\x01",
    "v1 without family": b"PROXY \r\n",
    "v1 without addresses": b"PROXY TCP4\r\n",
    "v1 UDP": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 two spaces": b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 other family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "v1 scope": b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
    "v1 leading zero": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "v1 not ASCII": "PROXY TCP4 192.0.2.\u0661 192.0.2.2 1 2\r\n".encode(),
    "v1 port too large": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "v1 port with a sign": b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    "v1 port with zeros": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    "v1 second port": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 x\r\n",
    "v1 second address": b"PROXY TCP4 192.0.2.1 nowhere 1 2\r\n",
    "v1 too long": b"PROXY UNKNOWN " + b"x" * 100,
    "v2 version": v2("192.0.2.1", "192.0.2.2", command=0x11),
    "v2 command": v2("192.0.2.1", "192.0.2.2", command=0x22),
    "v2 family": v2("192.0.2.1", "192.0.2.2", family=0x41),
    "v2 too short for addresses": V2 + b"\x21\x11\x00\x0b" + bytes(11),
    "v2 too long": V2 + b"\x21\x11\xff\xff",
    "v2 value cut": v2("192.0.2.1", "192.0.2.2", tlvs=b"\x01\x00"),
    "v2 value too long": v2("192.0.2.1", "192.0.2.2", tlvs=b"\x01\x00\x05abcd"),
    "v2 wrong checksum": with_checksum("192.0.2.1", wrong_by=1),
    "v2 checksum of another length": v2("192.0.2.1", "192.0.2.2", tlvs=tlv(0x03, bytes(3))),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_and_what_follows_is_left(name: str) -> None:
    data, address, port = GOOD[name]
    assert parse_proxy_header(data, MAX) == ProxyHeader(len(data), address, port)
    assert parse_proxy_header(bytearray(data + b"GET / HTTP/1.1\r\n\r\n"), MAX) == ProxyHeader(len(data), address, port)


@pytest.mark.parametrize("name", GOOD)
def test_every_beginning_of_a_header_waits_for_more(name: str) -> None:
    data = GOOD[name][0]
    for end in range(len(data)):
        assert parse_proxy_header(data[:end], MAX) is None


@pytest.mark.parametrize("name", BAD)
def test_a_bad_header_is_refused_however_it_arrives(name: str) -> None:
    data = BAD[name]
    with pytest.raises(ProxyError):
        parse_proxy_header(data, MAX)
    for end in range(len(data)):
        try:
            assert parse_proxy_header(data[:end], MAX) is None
        except ProxyError:
            break


@given(
    st.one_of(
        st.binary(max_size=200), st.binary(max_size=200).map(b"PROXY ".__add__), st.binary(max_size=200).map(V2.__add__)
    )
)
def test_garbage_is_refused_or_waits_and_raises_nothing_else(data: bytes) -> None:
    try:
        header = parse_proxy_header(data, MAX)
    except ProxyError:
        return
    assert header is None or header.size <= len(data)


@given(st.sampled_from([data for data, _, _ in GOOD.values()]), st.integers(0, 300), st.integers(0, 255))
def test_a_header_with_one_byte_changed_raises_nothing_else(data: bytes, at: int, byte: int) -> None:
    changed = data[: at % len(data)] + bytes([byte]) + data[at % len(data) + 1 :]
    try:
        parse_proxy_header(changed, MAX)
    except ProxyError:
        return


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_comes_out_as_it_went_in(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    expected = str(getattr(address, "ipv4_mapped", None) or address)
    destination = "::1" if address.version == 6 else "127.0.0.1"
    line = f"PROXY TCP{address.version} {address} {destination} {port} 1\r\n".encode()
    for data in (line, v2(str(address), destination, port=port)):
        assert parse_proxy_header(data, MAX) == ProxyHeader(len(data), expected, port)


def test_the_checksum_is_that_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/64", "192.0.2.9"])
PROXY = "10.0.0.1"
CLIENT = "198.51.100.7"


@pytest.mark.parametrize(
    "address", ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.9", "2001:db8:1::5", "2001:db8:1::5%eth0"]
)
def test_listed_addresses_and_networks_are_trusted(address: str) -> None:
    assert TRUSTED.trusts(address)


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.10", "2001:db8:2::5", "", "unix:", "10.0.0", "10.0.0.1/8"])
def test_others_are_not(address: str) -> None:
    assert not TRUSTED.trusts(address)
    assert not TrustedProxies([]).trusts("127.0.0.1")


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "", "10.0.0.0/33"])
def test_a_network_that_is_none_is_an_error_that_names_the_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^server\.trusted_proxies: ") as caught:
        TrustedProxies([text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}:8080", CLIENT),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"203.0.113.1, {CLIENT}", CLIENT),
        (f"203.0.113.1, {CLIENT}, 10.0.0.2,10.0.0.3", CLIENT),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (f"{CLIENT}, garbage, 10.0.0.2", "10.0.0.2"),
        ("unknown", PROXY),
        ("", PROXY),
        (", ,", PROXY),
        ("[::1", PROXY),
        ("1.2.3.4.5", PROXY),
    ],
)
def test_x_forwarded_for_is_read_from_its_end_over_those_trusted(value: str, address: str) -> None:
    assert TRUSTED.client_address(PROXY, [("Host", "chat.example"), ("X-Forwarded-For", value)]) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'For="{CLIENT}:8080";proto=https;by=203.0.113.43', CLIENT),
        (f'by="[::1]:1";host=chat.example ; for={CLIENT}', CLIENT),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        (f"for=203.0.113.1, for={CLIENT}", CLIENT),
        (f"for=203.0.113.1,for={CLIENT};proto=http, for=10.0.0.2", CLIENT),
        (f'for="{CLIENT[:-1]}\\{CLIENT[-1]}"', CLIENT),
        (f"for={CLIENT}, for=_hidden", PROXY),
        (f"for={CLIENT}, proto=https", PROXY),
        ("for=unknown", PROXY),
        (f'for="203.0.113.1, for={CLIENT}', PROXY),
        (f'for=203.0.113.1, x=", for="{CLIENT}"', PROXY),
        ("nonsense", PROXY),
        (f"for={CLIENT};;", PROXY),
    ],
)
def test_forwarded_is_read_from_its_end_over_those_trusted(value: str, address: str) -> None:
    assert TRUSTED.client_address(PROXY, [("forwarded", value)]) == address


def test_nothing_is_believed_from_somebody_who_is_not_trusted() -> None:
    headers = [("X-Forwarded-For", "203.0.113.1"), ("Forwarded", "for=203.0.113.1")]
    assert TRUSTED.client_address(CLIENT, headers) == CLIENT
    assert TrustedProxies([]).client_address(PROXY, headers) == PROXY


def test_several_headers_are_one_list_and_a_broken_one_of_the_client_hides_nothing() -> None:
    assert TRUSTED.client_address(PROXY, [("X-Forwarded-For", "x"), ("x-forwarded-for", CLIENT)]) == CLIENT
    assert TRUSTED.client_address(PROXY, [("Forwarded", 'for="'), ("Forwarded", f"for={CLIENT}")]) == CLIENT


def test_both_headers_count_only_if_they_agree() -> None:
    assert TRUSTED.client_address(PROXY, [("X-Forwarded-For", CLIENT), ("Forwarded", f"for={CLIENT}")]) == CLIENT
    assert TRUSTED.client_address(PROXY, [("X-Forwarded-For", CLIENT), ("Forwarded", "for=203.0.113.1")]) == PROXY


def test_without_a_header_it_is_the_address_of_the_proxy() -> None:
    assert TRUSTED.client_address(PROXY, []) == PROXY


@given(st.text(), st.text())
def test_garbage_in_the_headers_raises_nothing(forwarded: str, x_forwarded: str) -> None:
    for headers in ([("Forwarded", forwarded)], [("X-Forwarded-For", x_forwarded)]):
        TRUSTED.client_address(PROXY, headers)


@given(st.text(alphabet='for=",;\\ 1.[]:%_a', max_size=30))
def test_whatever_a_client_writes_first_its_own_address_or_the_proxys_comes_out(garbage: str) -> None:
    for name, value in (("Forwarded", f"{garbage}, for={CLIENT}"), ("X-Forwarded-For", f"{garbage}, {CLIENT}")):
        assert TRUSTED.client_address(PROXY, [(name, value)]) in (CLIENT, PROXY)
