"""What a URL that is posted to may look like."""

import pytest

from chatd.outbound.urls import check_url


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1", "http://127.0.0.1:8080/", "https://[::1]:99/hook", "http://a.example"]
)
def test_a_plain_url_is_good(url: str) -> None:
    assert check_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example/x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "https://",
        "https:///path",
        "https://user:word@a.example/",
        "https://user@a.example/",
        "https://a.example/#part",
        "https://a.example:0/",
        "https://a.example:99999/",
        "https://a.example:x/",
        "https://[::1/",
        "https://bücher.example/",
        "https://a.example/a b",
        "https://a.example/\r\nHost: b",
    ],
)
def test_anything_else_is_told_in_one_line(url: str) -> None:
    wrong = check_url(url)
    assert wrong
    assert "\n" not in wrong
