"""The bands of the codes say what to do with them."""

import pytest

from protocol.codes import CloseCode, ErrorCode, may_reconnect, may_retry


@pytest.mark.parametrize("code", ErrorCode)
def test_errors_are_in_one_of_the_two_bands(code: ErrorCode) -> None:
    assert 100 <= code < 300
    assert may_retry(code) is (code < 200)


@pytest.mark.parametrize("code", CloseCode)
def test_close_codes_are_the_rfcs_or_in_one_of_the_two_private_bands(code: CloseCode) -> None:
    assert 1000 <= code <= 1015 or 4000 <= code < 5000
    # These mean "no code", "gone without a word" and "TLS failed": they never go on the wire.
    assert code not in (1005, 1006, 1015)


@pytest.mark.parametrize(
    ("code", "comes_back"),
    [
        (1000, False),
        (1001, True),
        (1002, False),
        (1003, False),
        (1006, True),
        (1007, False),
        (1009, False),
        (1011, True),
        (1012, True),
        (4000, True),
        (4499, True),
        (4500, False),
        (4999, False),
    ],
)
def test_a_client_comes_back_unless_the_same_would_happen_again(code: int, comes_back: bool) -> None:
    assert may_reconnect(code) is comes_back


@pytest.mark.parametrize("codes", [ErrorCode, CloseCode])
def test_no_code_has_two_names(codes: type[ErrorCode | CloseCode]) -> None:
    assert len(codes) == len(codes.__members__)
