"""Lists of addresses and networks: who is in them, in whatever way the address is written."""

import pytest

from chatd.networks import Networks


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("fe80::1%eth0", True),
        ("fe80::2", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_who_is_in_the_networks(address: str, expected: bool) -> None:
    assert (address in Networks(["10.0.0.0/8", "fe80::1"])) is expected


def test_no_network_has_nobody_in_it() -> None:
    assert not Networks([])
    assert "127.0.0.1" not in Networks([])


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "::1\n"])
def test_what_is_no_network_is_named_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="no address or network") as caught:
        Networks([text])
    assert "\n" not in str(caught.value)
