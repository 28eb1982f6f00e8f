"""Where the node may connect to on behalf of others."""

import ipaddress

import pytest

from chatd.outbound.addresses import is_allowed

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "2001:db8::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::127.0.0.1",
]


@pytest.mark.parametrize("text", PUBLIC)
@pytest.mark.parametrize("allow_private", [False, True])
def test_a_public_address_is_always_allowed(text: str, allow_private: bool) -> None:
    assert is_allowed(ipaddress.ip_address(text), allow_private=allow_private)


@pytest.mark.parametrize("text", PRIVATE)
def test_a_private_address_is_allowed_only_where_that_is_configured(text: str) -> None:
    assert not is_allowed(ipaddress.ip_address(text), allow_private=False)
    assert is_allowed(ipaddress.ip_address(text), allow_private=True)


@pytest.mark.parametrize("text", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_metadata_services_and_what_is_no_host_are_never_allowed(text: str, allow_private: bool) -> None:
    assert not is_allowed(ipaddress.ip_address(text), allow_private=allow_private)
