"""Nobody loads another machine by mistake."""

import pytest

from bench.loopback import TargetRefused, check_target, parse_address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_this_machine_may_be_loaded(host: str) -> None:
    address, port = check_target(host, 8000, allow_remote=False)
    assert address.startswith("127.")
    assert port == 8000


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "0.0.0.0"])
def test_another_address_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="--allow-remote"):
        check_target(host, 8000, allow_remote=False)


def test_another_machine_may_be_loaded_when_that_is_said() -> None:
    assert check_target("192.0.2.1", 8000, allow_remote=True) == ("192.0.2.1", 8000)


@pytest.mark.parametrize("text", ["", "host", ":", "host:", "host:x", ":80", "host:0", "host:65536", "[::1]:80"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(TargetRefused):
        parse_address(text)
